#include "agent/confine.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "config.h"

#if defined(__x86_64__) && !defined(__ILP32__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OUR_ARCH AUDIT_ARCH_PPC64LE
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef OUR_ARCH

#define X32_BIT 0x40000000U
#define NEW_NAMESPACES                                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define CLONE_NEWTIME_BIT 0x80U /* only for unshare: in clone() it is a part of the signal */

#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE(code) RETURN(SECCOMP_RET_ERRNO | (code))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* If the loaded word is not the number, skip n instructions. */
#define UNLESS(number, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, (n))
#define DENY(call) UNLESS(__NR_##call, 1), REFUSE(EPERM)
/* The flags are the first argument (not so on s390x); these machines are all little-endian, its low half comes first.
 */
#define DENY_FLAGS(call, flags)                                                                                        \
    UNLESS(__NR_##call, 4), LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (flags), 0, 1), REFUSE(EPERM),         \
        RETURN(SECCOMP_RET_ALLOW)

static const struct sock_filter filter[] = {
    /* Programs for another processor mode have other numbers: none of their calls is let through. */
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
    REFUSE(EPERM),
    LOAD(nr),
#ifdef __x86_64__
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
    REFUSE(ENOSYS),
#endif
    /* code for the kernel */
    DENY(init_module),
    DENY(finit_module),
    DENY(delete_module),
    DENY(kexec_load),
#ifdef __NR_kexec_file_load
    DENY(kexec_file_load),
#endif
    DENY(bpf),
    DENY(perf_event_open),
    DENY(userfaultfd),
    /* mounts and roots */
    DENY(mount),
    DENY(umount2),
    DENY(pivot_root),
    DENY(chroot),
    DENY(move_mount),
    DENY(open_tree),
    DENY(fsopen),
    DENY(fsconfig),
    DENY(fsmount),
    DENY(fspick),
#ifdef __NR_mount_setattr
    DENY(mount_setattr),
#endif
    DENY(swapon),
    DENY(swapoff),
    DENY(quotactl),
#ifdef __NR_quotactl_fd
    DENY(quotactl_fd),
#endif
    DENY(open_by_handle_at),
    DENY(fanotify_init),
    /* namespaces; clone3 hides its flags behind a pointer, and libc falls back to clone when there is none */
    DENY(setns),
    DENY_FLAGS(unshare, NEW_NAMESPACES | CLONE_NEWTIME_BIT),
    DENY_FLAGS(clone, NEW_NAMESPACES),
    UNLESS(__NR_clone3, 1),
    REFUSE(ENOSYS),
/* other processes */
#ifndef PGT_SANITIZED /* the leak checker traces */
    DENY(ptrace),
#endif
    DENY(process_vm_readv),
    DENY(process_vm_writev),
    DENY(kcmp),
#ifdef __NR_pidfd_getfd
    DENY(pidfd_getfd),
#endif
    /* the host */
    DENY(reboot),
    DENY(settimeofday),
    DENY(clock_settime),
    DENY(clock_adjtime),
    DENY(adjtimex),
    DENY(sethostname),
    DENY(setdomainname),
    DENY(syslog),
    DENY(acct),
    DENY(vhangup),
    DENY(lookup_dcookie),
#ifdef __NR_iopl
    DENY(iopl),
#endif
#ifdef __NR_ioperm
    DENY(ioperm),
#endif
#ifdef __NR_uselib
    DENY(uselib),
#endif
    RETURN(SECCOMP_RET_ALLOW),
};

int confine(struct err *err)
{
    const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]),
                                       .filter = (struct sock_filter *)(uintptr_t)filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, -errno, "could not forbid new privileges");
    /* Kernels before 5.16 would otherwise also slow the processor down for whoever is filtered: PostgreSQL. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0)
        return err_sys(err, errno == ENOSYS || errno == EINVAL ? -ENOTSUP : -errno, "could not filter system calls");
    return 0;
}

#else

int confine(struct err *err)
{
    return err_set(err, -ENOTSUP, "system calls are not filtered on this processor");
}

#endif
