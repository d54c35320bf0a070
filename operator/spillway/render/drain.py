"""How a replica ends: out of routing first, then the requests it has, then the engine. Run by the kubelet as the preStop hook.

What vLLM does by itself on SIGTERM (measured on 0.32.0): requests in flight hang or, with --shutdown-timeout, finish
while new ones get a 500 and /health stays 200; and while it still loads, SIGTERM is swallowed, so that a replica that nobody wants
any more would hold its accelerators for the whole grace period. Hence:

* nothing listens, or the engine is dead: kill its processes now. That needs `shareProcessNamespace`: as PID 1 of a namespace of its
  own the engine could not be killed from inside, and would not even get the default action of SIGTERM.
* it serves: wait until the gateway's DNS has dropped it, then until no request runs or waits. It accepts to the end of both waits, so
  a late request is served, not refused. Then the hook returns, and SIGTERM finds an idle engine, which exits within a second.
"""

# CoreDNS answers for 5 s, the gateway asks every second; the rest is for the endpoint's way to CoreDNS.
SETTLE_S = 10
# After the hook: SIGTERM to exit of an idle engine, with its workers and their GPU memory.
EXIT_S = 30

# The container's processes are told apart from a sidecar's by their cgroup. The last argument replaces /proc in tests.
SCRIPT = """\
import http.client, os, signal, sys, time

port, settle, budget = (int(text) for text in sys.argv[1:4])
proc = sys.argv[4] if len(sys.argv) > 4 else "/proc"
REFUSED, SILENT = 0, -1


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except ConnectionRefusedError:
        return REFUSED, ""
    except (OSError, http.client.HTTPException):
        return SILENT, ""
    finally:
        connection.close()


def cgroup(pid):
    try:
        with open(os.path.join(proc, pid, "cgroup")) as file:
            return file.read()
    except OSError:
        return None


def kill_engine():
    mine = cgroup("self")
    for pid in os.listdir(proc):
        if pid.isdigit() and int(pid) != os.getpid() and mine and cgroup(pid) == mine:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass


def busy(metrics):
    for line in metrics.splitlines():
        if line.startswith("vllm:num_requests_") and float(line.rsplit(" ", 1)[1]) > 0:
            return True
    return False


health, _ = get("/health")
if health == REFUSED or health >= 500:
    kill_engine()
    sys.exit(0)
time.sleep(settle)
deadline = time.monotonic() + budget
quiet = 0
while quiet < 2 and time.monotonic() < deadline:
    status, metrics = get("/metrics")
    if status == REFUSED:
        break
    quiet = 0 if status == SILENT or busy(metrics) else quiet + 1
    time.sleep(0.5)
"""


def command(*, port: int, max_request_seconds: int) -> list[str]:
    """Return the preStop hook's command. -I and -S keep it apart from the engine's environment, and fast."""
    return ["python3", "-I", "-S", "-c", SCRIPT, str(port), str(SETTLE_S), str(max_request_seconds)]


def grace_period_s(max_request_seconds: int) -> int:
    """Return the termination grace period: never shorter than the longest request that may still run."""
    return SETTLE_S + max_request_seconds + EXIT_S
