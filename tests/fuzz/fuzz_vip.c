/*
 * What the kernel and the network may send to the virtual addresses: whatever bytes arrive, reading them ends, stays
 * within them, and what is reported is bounded.
 *
 * The first byte says what the rest is: frames of the wire, messages of the kernel, or a line of settings.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/log.h"
#include "vip/packet.h"
#include "vip/vip_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void read_settings(const uint8_t *data, size_t size)
{
    char line[128] = "", text[ADDRESS_TEXT_SIZE];
    struct vip_settings s;

    memcpy(line, data, size < sizeof(line) ? size : sizeof(line) - 1);
    if (!address_parse(line, &s))
        return;
    require(s.prefix > 0 && s.prefix <= 8 * address_size(s.family));
    require(memchr(s.interface, '\0', sizeof(s.interface)) && memchr(s.label, '\0', sizeof(s.label)));
    address_print(&s, text, sizeof(text));
}

static void read_frame(struct vip *a, const uint8_t *data, size_t size)
{
    uint64_t now_us = 1000000;

    for (int state = VIP_ABSENT; state <= VIP_FAILED; state++) {
        a->state = (enum vip_state)state;
        claim_on_frame(a, data, size, now_us);
        require(a->state == (enum vip_state)state || (state == VIP_CLAIMING && a->state == VIP_CONFLICT));
    }
}

static void read_messages(struct vip *a, const uint8_t *data, size_t size)
{
    struct address_event event;
    size_t left = size, before = size;

    while (address_next(&data, &left, &event)) {
        require(left < before);
        before = left;
        require(memchr(event.name, '\0', sizeof(event.name)) != NULL);
        if (event.type == ADDRESS_EVENT_LINK)
            claim_on_link(a, &event, 1000000);
        if (event.type == ADDRESS_EVENT_ADDED || event.type == ADDRESS_EVENT_REMOVED)
            claim_on_address(a, &event, 1000000);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const settings[] = {"primary,eth0,,10.9.0.100/24", "primary,eth0,,fd09::100/64"};
    struct vip_settings s;
    struct vip a;

    log_open(-1, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    if (size == 0)
        return 0;
    require(address_parse(settings[data[0] & 1], &s));
    claim_init(&a, &s);
    a.deadline_us = 60000000;
    a.link = (struct vip_link){.index = 2, .up = true, .ethernet = true};
    if ((data[0] >> 1) % 3 == 0)
        read_frame(&a, data + 1, size - 1);
    else if ((data[0] >> 1) % 3 == 1)
        read_messages(&a, data + 1, size - 1);
    else
        read_settings(data + 1, size - 1);
    return 0;
}
