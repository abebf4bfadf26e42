/* clear-fence-guard: lets a node that was reset again and again compete for the leader key once more. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "ctl/ctl.h"

/* Returns 1 if it was there and is gone, 0 if there was none, else -errno. */
static int remove_guard(const char *path)
{
    if (unlink(path) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

/* The keeper makes the first, or where it cannot the second (fence/statedir.h). */
static int remove_guards(const struct config *c, char *path, size_t size)
{
    char instance[512];
    int r = 0, also;

    (void)text_print(instance, sizeof(instance), "%s-%s", c->scope, c->name);
    for (char *s = instance; *s; s++)
        if (*s == '/')
            *s = '_';
    if (text_print(path, size, "%s/%s/fence-guard", c->state_dir, instance))
        r = remove_guard(path);
    if (r < 0 || !text_print(path, size, "%s.pgtether-state/fence-guard", c->postgresql.data_dir))
        return r;
    also = remove_guard(path);
    return also < 0 ? also : r + also;
}

int cmd_clear_fence_guard(struct ctl *ctl, int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    static const struct ctl_options options = {":h", longs};
    int exit_code, r;
    char path[1024];

    (void)ctl_next_option(argc, argv, &options, &exit_code);
    if (exit_code >= 0)
        return exit_code;
    if (ctl_open_config(ctl) < 0)
        return EXIT_FAILED;
    r = remove_guards(ctl->config, path, sizeof(path));
    if (r < 0)
        return ctl_fail("could not remove \"%s\": %s", path, strerror(-r));
    if (r == 0)
        printf("This node is not kept out of elections.\n");
    else
        printf("This node takes part in elections again.\n");
    return EXIT_DONE;
}
