/* Where each setting of the node whose configuration file was read comes from. */
#pragma once
#include "ctl/ctl.h"

/* Prints it, with what is in force in the PostgreSQL of that node if it answers; returns an exit code. */
int origin_show(const struct ctl *ctl, const char *config_json, enum report_format format);
