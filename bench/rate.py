"""A server that grants 600 requests a minute from a token bucket, for three minutes: how much of it is used.

    python bench/rate.py

In four ways, all at the same time: the rate is set by the user (`--rpm`), stated by the server's headers, or found out
from refusals alone, which ask for a wait in exact or in whole seconds.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from measure import TESTS, finished, save
from on_real_rows import PROOF, cherry

RPM = 600
BURST = 10
LATENCY_MS = 200
SECONDS = 180
SETTLED_S = 20
"""From then on refusals count."""
WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float, float]] = {
    # flags of the server, flags of ours, the least share of the rate, the most refusals
    "--rpm": (("--retry-after", "none"), ("--rpm", str(RPM)), 0.95, 0.01),
    "headers": (("--retry-after", "none", "--rate-headers"), (), 0.95, 0.01),
    "Retry-After, exact": (("--retry-after", "exact"), (), 0.85, 0.03),
    "Retry-After, whole seconds": (("--retry-after", "ceil"), (), 0.85, 0.03),
}


def fared(way: str, seconds: int) -> dict[str, float]:
    """Ask for so many seconds; returns the share of the rate that was used and the share of refusals."""
    from loopback import Loopback

    server_flags, own_flags, *_ = WAYS[way]
    run = PROOF / f"rate_{list(WAYS).index(way)}"
    shutil.rmtree(run, ignore_errors=True)
    ration = ("--rpm", str(RPM), "--burst", str(BURST), "--latency-ms", str(LATENCY_MS))
    with Loopback(*ration, *server_flags) as server:
        command = [sys.executable, "-m", "reflectune", "recycle", str(cherry()), "--run", str(run), "--quiet"]
        process = subprocess.Popen(
            [*command, "--oracle", "loopback", "--base-url", server.base_url, *own_flags], stderr=subprocess.DEVNULL
        )
        try:
            while not (began := server.stats()["first_at"]):
                time.sleep(0.05)
            time.sleep(began + seconds + 1 - time.time())
            timeline = [second for second in server.stats()["timeline"] if second[0] < seconds]
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()
    granted = sum(second[1] for second in timeline)
    late = [sum(second[place] for second in timeline if second[0] >= SETTLED_S) for place in (1, 2)]
    return {
        "share": granted / (RPM / 60 * seconds),
        "refused": late[1] / max(1, sum(late)),
        "refused_before": sum(second[2] for second in timeline) - late[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="another time; then nothing is saved")
    arguments = parser.parse_args()
    if arguments.resume and finished("rate"):
        return
    sys.path.insert(0, str(TESTS))
    with ThreadPoolExecutor(len(WAYS)) as pool:
        results = dict(zip(WAYS, pool.map(lambda way: fared(way, arguments.seconds), WAYS), strict=True))
    met = True
    for way, (_, _, least, most) in WAYS.items():
        result = results[way]
        met = met and result["share"] >= least and result["refused"] < most
        print(
            f"{way:27} {100 * result['share']:5.1f}% of the rate, bound {100 * least:.0f}%;"
            f" {100 * result['refused']:5.2f}% refused after {SETTLED_S} s, bound {100 * most:.0f}%"
            f" ({result['refused_before']:.0f} before)"
        )
    if arguments.seconds == SECONDS:
        save("rate", met=met, rpm=RPM, burst=BURST, latency_ms=LATENCY_MS, seconds=SECONDS, results=results)


if __name__ == "__main__":
    main()
