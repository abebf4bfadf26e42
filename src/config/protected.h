/*
 * PostgreSQL parameters that must be the same on all members, or that pgtether sets itself: taken from the dynamic
 * configuration only, passed on the postmaster's command line (facts: Patroni's ConfigHandler.CMDLINE_OPTIONS).
 */
#pragma once
#include <stdbool.h>

/* Local values of these do not count. */
bool protected_parameter(const char *name);
/* Nobody sets these: listen_addresses, port, cluster_name. Returns the setting they follow from, NULL if not one. */
const char *protected_parameter_source(const char *name);
/*
 * True if the value may be used, or the parameter is not protected. Otherwise *ret_expected says what would be
 * accepted (static text), and the reference's default applies instead.
 */
bool protected_parameter_accepts(const char *name, const char *value, const char **ret_expected);
