"""A node of the lab that is a machine: its own kernel, systemd and watchdog, in qemu, on the lab's switch."""
