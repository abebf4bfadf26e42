/* The log's ways out: a stream, and the journal's socket, played by a socket of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"

static struct {
    char dir[64], path[80];
    int journal;   /* the journal's end */
    int stream[2]; /* read, written by the log */
} f;

static int set_up(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)state;
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/test_log.XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.path, sizeof(f.path), "%s/socket", f.dir);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", f.path);
    f.journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f.journal, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(pipe2(f.stream, O_NONBLOCK | O_CLOEXEC), 0);
    log_open(f.stream[1], LOG_FORMAT_SYSLOG, LOG_LEVEL_INFO);
    assert_int_equal(log_open_journal(f.path, "pgtetherd", "main", "n1"), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)close(f.journal);
    (void)close(f.stream[0]);
    (void)close(f.stream[1]);
    (void)unlink(f.path);
    return rmdir(f.dir);
}

static size_t receive(char *buf, size_t size)
{
    ssize_t n = recv(f.journal, buf, size, 0);

    return n < 0 ? 0 : (size_t)n;
}

static bool stream_is_empty(void)
{
    char byte;

    return read(f.stream[0], &byte, 1) < 0 && errno == EAGAIN;
}

static void test_journal_entry_has_its_fields_and_the_whole_message(void **state)
{
    static const char head[] = "SYSLOG_IDENTIFIER=pgtetherd\nPGTETHER_SCOPE=main\nPGTETHER_NAME=n1\nPRIORITY=4\n"
                               "MESSAGE\n";
    static const char text[] = "could not do 1 thing\nHINT: do another";
    const size_t head_len = sizeof(head) - 1, text_len = sizeof(text) - 1;
    uint64_t size = htole64(text_len);
    char got[4096];

    (void)state;
    log_warning("could not do %d thing\nHINT: do another", 1);
    assert_int_equal(receive(got, sizeof(got)), head_len + sizeof(size) + text_len + 1);
    assert_memory_equal(got, head, head_len);
    assert_memory_equal(got + head_len, &size, sizeof(size));
    assert_memory_equal(got + head_len + sizeof(size), text, text_len);
    assert_int_equal(got[head_len + sizeof(size) + text_len], '\n');
    assert_true(stream_is_empty());
    log_debug("below the level");
    assert_int_equal(receive(got, sizeof(got)), 0);
}

static void test_journal_when_its_queue_is_full_then_lines_take_the_stream_and_nothing_waits(void **state)
{
    char line[64] = "";
    ssize_t n = -1;

    (void)state;
    for (int i = 0; i < 100000 && n < 0; i++) {
        log_info("again");
        n = read(f.stream[0], line, sizeof(line) - 1);
    }
    assert_string_equal(line, "<6>again\n");
}

static void test_journal_when_it_goes_away_then_lines_take_the_stream(void **state)
{
    char line[64] = "";

    (void)state;
    (void)close(f.journal);
    f.journal = -1;
    log_error("alone");
    assert_true(read(f.stream[0], line, sizeof(line) - 1) > 0);
    assert_string_equal(line, "<3>alone\n");
}

static void test_journal_when_a_field_would_begin_another_or_nobody_listens_then_it_is_refused(void **state)
{
    static const char fields[] = "SYSLOG_IDENTIFIER=pgtetherd\nPGTETHER_SCOPE=main\nPGTETHER_NAME=n1\n";
    char got[4096];

    (void)state;
    assert_int_equal(log_open_journal(f.path, "pgtetherd", "main\nPRIORITY=0", "n1"), -EINVAL);
    assert_int_equal(log_open_journal("/nonexistent/socket", "pgtetherd", "main", "n1"), -ENOENT);
    /* What was open before stays so, as it was. */
    log_info("still there");
    assert_true(receive(got, sizeof(got)) > 0);
    assert_memory_equal(got, fields, strlen(fields));
}

static void test_stderr_when_it_is_the_journals_stream_then_the_format_says_so(void **state)
{
    (void)state;
    assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
    assert_int_equal(log_format_of_stderr(), LOG_FORMAT_TEXT);
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    assert_int_equal(log_format_of_stderr(), LOG_FORMAT_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_journal_entry_has_its_fields_and_the_whole_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_journal_when_its_queue_is_full_then_lines_take_the_stream_and_nothing_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_journal_when_it_goes_away_then_lines_take_the_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_journal_when_a_field_would_begin_another_or_nobody_listens_then_it_is_refused, set_up, tear_down),
        cmocka_unit_test(test_stderr_when_it_is_the_journals_stream_then_the_format_says_so),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
