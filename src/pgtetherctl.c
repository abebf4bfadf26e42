/* pgtetherctl: shows the state of a cluster to its operator. */
#include "ctl/ctl.h"

int main(int argc, char **argv)
{
    return ctl_main(argc, argv);
}
