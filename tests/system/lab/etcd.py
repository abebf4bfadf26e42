"""The store: one etcd member per node, and a reader of the cluster's keys over etcd's JSON gateway."""

import base64
import http.client
import json
import os
import subprocess
import time

from . import net

CLIENT_PORT, PEER_PORT = 2379, 2380


def command(node, nodes, data_dir):
    members = ",".join(f"{n.name}=http://{n.address}:{PEER_PORT}" for n in nodes)
    mine = f"http://{node.address}"
    return ["etcd", "--name", node.name, "--data-dir", data_dir, "--log-level", "warn", "--logger", "zap",
            # The default of 3.5: a member that comes back from a partition does not depose the leader of the others.
            "--pre-vote",
            "--listen-client-urls", f"{mine}:{CLIENT_PORT}", "--advertise-client-urls", f"{mine}:{CLIENT_PORT}",
            "--listen-peer-urls", f"{mine}:{PEER_PORT}", "--initial-advertise-peer-urls", f"{mine}:{PEER_PORT}",
            "--initial-cluster", members, "--initial-cluster-state", "new",
            "--initial-cluster-token", node.cluster.etcd_token]


def start(node, nodes, directory):
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with net.inside(node.namespace), open(f"{directory}/etcd.log", "ab") as log:
        subprocess.Popen(command(node, nodes, f"{directory}/etcd") + node.cluster.etcd_options, stdin=subprocess.DEVNULL, stdout=log,
                         stderr=subprocess.STDOUT, start_new_session=True, cwd="/",
                         env={**os.environ, "ETCD_UNSUPPORTED_ARCH": os.uname().machine})


# (user, password) while a test has switched authentication on.
credentials = None
_token = (None, 0.0, "")  # of these credentials, got then; etcd takes long to check a password


def _headers(connection):
    global _token
    if not credentials:
        return {}
    if _token[0] != credentials or time.monotonic() - _token[1] > 1:
        connection.request("POST", "/v3/auth/authenticate",
                           json.dumps({"name": credentials[0], "password": credentials[1]}))
        answer = json.loads(connection.getresponse().read())
        _token = (credentials, time.monotonic(), answer.get("token", ""))
    return {"Authorization": _token[2]}


def _call(client_ns, address, path, body, timeout):
    with net.inside(client_ns):
        connection = http.client.HTTPConnection(address, CLIENT_PORT, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps(body), _headers(connection))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
    if answer.status != 200:
        raise OSError(f"etcd on {address}: {answer.status} {text[:200]!r}")
    return json.loads(text)


def _b64(text):
    return base64.b64encode(text.encode()).decode()


def read_prefix(client_ns, addresses, prefix, timeout=1.0):
    """{key without prefix: value} from the first member that answers; None when no member has a quorum."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    for address in addresses:
        try:
            answer = _call(client_ns, address, "/v3/kv/range", {"key": _b64(prefix), "range_end": _b64(end)}, timeout)
        except (OSError, http.client.HTTPException, ValueError):
            continue
        return {base64.b64decode(kv["key"]).decode()[len(prefix):]: base64.b64decode(kv.get("value", "")).decode()
                for kv in answer.get("kvs", [])}
    return None


def put(client_ns, addresses, key, value, timeout=2.0):
    """Writes one key, as an administrator's tool would. True when a member accepted it."""
    for address in addresses:
        try:
            _call(client_ns, address, "/v3/kv/put", {"key": _b64(key), "value": _b64(value)}, timeout)
            return True
        except (OSError, http.client.HTTPException, ValueError):
            continue
    return False


def delete(client_ns, addresses, key, timeout=2.0):
    """Removes one key, as an administrator's slip would. True when a member accepted it."""
    for address in addresses:
        try:
            _call(client_ns, address, "/v3/kv/deleterange", {"key": _b64(key)}, timeout)
            return True
        except (OSError, http.client.HTTPException, ValueError):
            continue
    return False
