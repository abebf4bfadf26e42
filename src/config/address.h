/* "host:port" in its variants, beyond config_parse_address() of config.h. Internal to src/config/. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "10.0.0.1,[::1]:5432" into "10.0.0.1,::1" and 5432, as listen_addresses and port want it; false if malformed. */
bool address_parse_listen(const char *text, uint16_t default_port, char *hosts, size_t size, uint16_t *port);
/* The member of such a list that others can reach: not "*", 0.0.0.0 or ::, and no loopback if there is a choice. False
 * if there is none. */
bool address_pick_specific(const char *hosts, char *host, size_t size);

bool address_is_unspecific(const char *host); /* stands for all addresses */
bool address_is_loopback(const char *host);

/*
 * "http://h:2379", "h:2379" or "h" into "http://h:2379"; scheme counts when the text has none. False if malformed, also
 * for user names and paths, which an endpoint of a store cannot have.
 */
bool address_print_url(const char *text, const char *scheme, uint16_t default_port, char *url, size_t size);
