/* What the files of the state machine share. Internal to src/vip/. */
#pragma once
#include "vip/vip.h"

/* claim.c: one address. Each sets what is to be done and when; nothing is sent before act(). */
bool claim_is_entitled(const struct vip *a, uint64_t now_us);
void claim_init(struct vip *a, const struct vip_settings *settings);
void claim_hold(struct vip *a, uint64_t deadline_us, uint64_t now_us);
void claim_drop(struct vip *a, uint64_t now_us);
/* The same as drop when its time is over; starts and repeats attempts. */
void claim_tick(struct vip *a, uint64_t now_us);
uint64_t claim_next_us(const struct vip *a);

/* What the kernel and the network say. */
void claim_on_link(struct vip *a, const struct address_event *event, uint64_t now_us);
void claim_on_link_gone(struct vip *a, uint64_t now_us);
void claim_on_address(struct vip *a, const struct address_event *event, uint64_t now_us);
void claim_on_frame(struct vip *a, const uint8_t *frame, size_t len, uint64_t now_us);
void claim_on_put(struct vip *a, int error, uint64_t now_us);
void claim_on_removed(struct vip *a, int error, uint64_t now_us);

/* act.c: sends what is due. */
void act(struct vips *v, struct vip *a, uint64_t now_us);
