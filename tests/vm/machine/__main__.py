"""python3 -m machine [TTL]: a cluster with the machine as leader, and a prompt in the machine. The cluster ends with it."""

import sys

from lab.cluster import Timing

from .cluster import VmCluster
from .guest import GuestGone


def main():
    ttl = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    cluster = VmCluster.create(timing=Timing(ttl, max(ttl // 4, 1), max(ttl // 4, 1)), label="machine")
    try:
        cluster.wait_whole(300)
        cluster.lead_with_vm()
        print(f"{cluster.vm.ctl('list')}logs: {cluster.vm.dir}/journal.log, console.log")
        while True:
            try:
                print(cluster.guest.run(input("machine# "))[1], end="")
            except GuestGone as e:
                print(e)
    except (EOFError, KeyboardInterrupt):
        print()
    finally:
        cluster.destroy()


if __name__ == "__main__":
    main()
