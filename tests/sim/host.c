/* A host: its clock, its power, its watchdog device, and the links between hosts. */
#include <linux/watchdog.h>
#include <string.h>
#include "base/clock.h"
#include "sim.h"

static const char names[NODES][3] = {"n1", "n2", "n3"};
static const char nobody[3] = "";

const char *node_name(int node)
{
    if (node == REMOTE)
        return REMOTE_CLUSTER;
    return node == NOBODY ? nobody : names[node];
}

int node_of_name(const char *name)
{
    for (int i = 0; i < NODES; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return strcmp(name, REMOTE_CLUSTER) == 0 ? REMOTE : NOBODY;
}

static int64_t stretch(int64_t us, int ppm)
{
    return us + us * ppm / 1000000;
}

uint64_t local_us(const struct world *w, const struct node *n)
{
    return n->base_local_us + (uint64_t)stretch((int64_t)(w->now_us - n->base_real_us), n->ppm);
}

/* The first microsecond of real time at which the node's clock shows at_us. */
uint64_t real_of_local(const struct node *n, uint64_t at_us)
{
    int64_t d = (int64_t)(at_us - n->base_local_us), real = d - d * n->ppm / (1000000 + n->ppm);

    while (real > 0 && stretch(real - 1, n->ppm) >= d)
        real--;
    while (stretch(real, n->ppm) < d)
        real++;
    return n->base_real_us + (uint64_t)real;
}

void push_in(struct world *w, struct node *n, enum event_kind kind, uint64_t in_us, uint32_t gen, uint64_t a,
             uint64_t b)
{
    queue_push(&w->queue, (struct event){.at_us = w->now_us + in_us,
                                         .planned_us = local_us(w, n) + in_us,
                                         .kind = (uint8_t)kind,
                                         .node = n->id,
                                         .gen = gen,
                                         .a = a,
                                         .b = b});
}

/* --- links ----------------------------------------------------------------------------------------------------------
 */

bool link_open(struct world *w, int from, int to)
{
    return !w->cut[from][to] && !(w->loss_percent && rng_chance(&w->rng, RNG_NET, w->loss_percent));
}

uint64_t message_delay_us(struct world *w)
{
    uint64_t delay_us = rng_between(&w->rng, RNG_NET, 200, 3000);

    if (rng_chance(&w->rng, RNG_NET, 1))
        delay_us += rng_between(&w->rng, RNG_NET, 0, 400 * MS);
    return w->slow_us ? delay_us + rng_between(&w->rng, RNG_NET, 0, w->slow_us) : delay_us;
}

/* --- power ----------------------------------------------------------------------------------------------------------
 */

void host_boot(struct world *w, struct node *n)
{
    n->up = true;
    n->boot++;
    n->base_real_us = w->now_us;
    /* CLOCK_BOOTTIME begins with the kernel, some time after the power came back and before anything of ours starts. */
    n->base_local_us = n->boot == 1 ? rng_between(&w->rng, RNG_SETUP, 5 * SEC, 100000 * SEC)
                                    : rng_between(&w->rng, RNG_SETUP, 500 * MS, w->now_us - n->crashed_at_us);
    n->device = (struct device){.gen = n->device.gen + 1};
    n->keeper.will = (struct will_model){0};
    n->truth_deadline_us = n->truth_session = 0;
    memset(n->truth_promise_us, 0, sizeof(n->truth_promise_us));
    memset(&n->run_dir, 0, sizeof(n->run_dir));
    TRACE(w, n->id, "the host boots");
    keeper_boot(w, n);
}

void host_crash(struct world *w, struct node *n, const char *why)
{
    if (!n->up)
        return;
    TRACE(w, n->id, "the host goes down: %s", why);
    pg_power_off(w, n);
    n->agent.alive = false;
    n->agent.gen = ++n->agent_lives;
    n->keeper.alive = false;
    n->keeper.gen++;
    n->device.ticks = false;
    n->device.gen++;
    n->gate_until_us = n->address_until_us = n->net_stuck_until_us = 0;
    n->up = false;
    n->crashed_at_us = w->now_us;
    /* In failsafe mode also so long that it is taken off the list. */
    push_in(w, n, EV_HOST_BOOT,
            rng_between(&w->rng, RNG_FAULT, SEC, w->policy.ttl_us * (w->policy.failsafe_mode ? 4 : 2)), n->boot, 0, 0);
}

/* --- the watchdog device --------------------------------------------------------------------------------------------
 */

static struct world *device_world; /* the driver reads the clock of the node it runs on */
static struct node *device_node;

uint64_t __wrap_clock_now_us(void);
uint64_t __wrap_clock_now_us(void)
{
    return device_node ? local_us(device_world, device_node) : 0;
}

static void enter(void *ctx)
{
    device_node = ctx;
}

static void plan_reset(struct world *w, struct node *n)
{
    uint64_t at_us = real_of_local(n, n->device.last_pet_us + n->device.timeout_us * w->reset_factor);

    n->device.planned = true;
    queue_push(&w->queue,
               (struct event){.at_us = at_us, .kind = EV_WATCHDOG_RESET, .node = n->id, .gen = n->device.gen});
}

static void pet_device(struct world *w, struct node *n)
{
    n->device.last_pet_us = local_us(w, n);
    n->device.magic = false;
    check_pet(w, n);
    if (!n->device.planned)
        plan_reset(w, n);
}

static int device_open(void *ctx, const char *path)
{
    struct node *n = ctx;

    (void)path;
    enter(ctx);
    if (!n->device.ticks) {
        n->device.ticks = true;
        n->device.gen++;
        n->device.planned = false;
        n->device.timeout_us = 60 * SEC;
    }
    n->device.last_pet_us = local_us(device_world, n);
    return 5;
}

static int device_control(void *ctx, int fd, unsigned long request, void *arg)
{
    struct node *n = ctx;

    (void)fd;
    if (request == WDIOC_GETSUPPORT) {
        *(struct watchdog_info *)arg = (struct watchdog_info){.options = WDIOF_MAGICCLOSE, .identity = "model"};
    } else if (request == WDIOC_SETTIMEOUT) {
        n->device.timeout_us = (uint64_t)(*(int *)arg) * SEC;
        /* What is planned belongs to the old timeout. */
        n->device.gen++;
        n->device.planned = false;
        plan_reset(device_world, n);
    } else if (request == WDIOC_GETTIMEOUT) {
        *(int *)arg = (int)(n->device.timeout_us / SEC);
    } else if (request == WDIOC_GETBOOTSTATUS) {
        *(int *)arg = 0;
    } else if (request == WDIOC_KEEPALIVE) {
        pet_device(device_world, n);
    }
    return 0;
}

static int device_write(void *ctx, int fd, char byte)
{
    struct node *n = ctx;

    (void)fd;
    n->device.magic = byte == 'V';
    return 0;
}

static int device_close(void *ctx, int fd)
{
    struct node *n = ctx;

    (void)fd;
    if (n->device.magic) {
        n->device.ticks = false;
        n->device.gen++;
        n->device.planned = false;
    }
    return 0;
}

static int device_nowayout(void *ctx, const char *path)
{
    (void)path;
    enter(ctx);
    return 0;
}

const struct watchdog_ops device_ops = {
    .open = device_open,
    .control = device_control,
    .write = device_write,
    .close = device_close,
    .nowayout = device_nowayout,
};

void device_enter(struct world *w, struct node *n)
{
    device_world = w;
    device_node = n;
}

void device_due(struct world *w, struct node *n)
{
    n->device.planned = false;
    if (!n->device.ticks)
        return;
    if (local_us(w, n) < n->device.last_pet_us + n->device.timeout_us * w->reset_factor) {
        plan_reset(w, n);
        return;
    }
    host_crash(w, n, "its watchdog resets it");
}
