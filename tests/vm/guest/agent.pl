#!/usr/bin/perl
# The root's hand in the machine: runs what the host sends over a virtio port, so it needs neither network nor the data disk.
# One line per request, "ID HEX-OF-SHELL-COMMAND"; one line per answer, "ID STATUS HEX-OF-OUTPUT"; "hello BOOT-ID" at start.
# Every request runs beside the others: a command that hangs on a dead disk does not take this hand away.
use strict;
use warnings;
use POSIX ":sys_wait_h";

my $path = "/dev/virtio-ports/lab.agent";
open(my $port, "+<", $path) or die "$path: $!\n";
open(my $boot, "<", "/proc/sys/kernel/random/boot_id") or die;
chomp(my $boot_id = <$boot>);

my %running; # output handle's fd => {id, handle, pid, output}

sub say_line {
    my $text = "$_[0]\n";
    while (length $text) {
        my $n = syswrite($port, $text);
        defined $n or next;
        substr($text, 0, $n) = "";
    }
}

sub begin {
    my ($id, $command) = @_;
    my $pid = open(my $out, "-|");
    if (!defined $pid) {
        say_line("$id 255 " . unpack("H*", "fork: $!"));
        return;
    }
    if ($pid == 0) {
        open(STDIN, "<", "/dev/null");
        open(STDERR, ">&", \*STDOUT);
        setpgrp;
        if (open(my $oom, ">", "/proc/self/oom_score_adj")) { print $oom "0"; close $oom; }
        exec("/bin/bash", "-c", $command) or POSIX::_exit(127);
    }
    $running{fileno $out} = {id => $id, handle => $out, output => ""};
}

sub finish {
    my $r = delete $running{$_[0]};
    close($r->{handle}); # waits for the command, sets $?
    my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    say_line("$r->{id} $status " . unpack("H*", $r->{output}));
}

my $input = "";
say_line("");
say_line("hello $boot_id");
while (1) {
    my $set = "";
    vec($set, fileno $port, 1) = 1;
    vec($set, $_, 1) = 1 for keys %running;
    select(my $ready = $set, undef, undef, undef) > 0 or next;
    for my $fd (keys %running) {
        next unless vec($ready, $fd, 1);
        my $r = $running{$fd};
        finish($fd) unless sysread($r->{handle}, $r->{output}, 65536, length $r->{output});
    }
    next unless vec($ready, fileno $port, 1);
    if (!sysread($port, $input, 65536, length $input)) {
        select(undef, undef, undef, 0.2); # nobody is connected on the host
        next;
    }
    while ($input =~ s/^([^\n]*)\n//) {
        my ($id, $hex) = split / /, $1;
        if ($id eq "hello") { say_line("hello $boot_id"); next; }
        begin($id, pack("H*", $hex // ""));
    }
}
