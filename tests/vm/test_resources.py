"""The leader's host lacks something."""

import pytest

pytestmark = pytest.mark.long


def test_watchdog_held_by_another_program(trial):
    """Required, but not to be had: this node does not lead, and is not reset either while the other program pets."""
    trial.strike("systemctl stop pgtether@lab; systemd-run -q --collect --unit=holder sh -c"
                 " 'exec 3>/dev/watchdog; while sleep 0.5; do echo >&3; [ -e /run/let-go ] && printf V >&3 && exit; done';"
                 " systemctl start pgtether@lab")
    trial.wait_successor(15)
    leader = trial.cluster.wait_whole(180)
    assert leader is not trial.vm
    assert "watchdog" in trial.guest.check("systemctl status --no-pager -n 200 pgtether@lab")
    trial.guest.check("touch /run/let-go; while systemctl is-active -q holder; do sleep 0.2; done; rm /run/let-go;"
                      " systemctl restart pgtether@lab")
    trial.finish(reset=False)
