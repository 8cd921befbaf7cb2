"""The booking storm: the ledger against bare SortedList calls, and against its peers.

``python -m benchmarks.storm`` compares it with the bare calls only, in a few seconds.
Runs are interleaved and the medians compared, because machines are noisy; only ratios
are meaningful.  What runs in this process is judged by processor time.  A peer that is a
server is judged by elapsed time, and so is the ledger next to it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from statistics import median

from benchmarks.measure import FULL, Bar, Findings, Say, Scale, frozen, ratio, summary
from benchmarks.peers import PEERS, Attempt, Peer, Unavailable, in_process
from benchmarks.targets import LedgerTarget, RecordingTarget
from benchmarks.workloads import Storm, decide, storm

ledger = in_process(LedgerTarget)


@dataclass
class Race:
    """Rates of the ledger and of a competitor on the same storm, run by run."""

    requests: int
    operations: int
    accepted: int
    digest: str
    ledger: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)
    latency_ns: dict[str, float] = field(default_factory=dict)
    """The competitor's latency of each operation."""

    @property
    def ratio(self) -> float:
        """How many times as fast the ledger is."""
        return ratio(self.ledger, self.other)

    @property
    def told(self) -> str:
        """Both rates, and the size of the storm, in words."""
        rates = f"{median(self.ledger):,.0f}/s and {median(self.other):,.0f}/s"
        return f"{rates}, {self.requests:,} requests"


def against_floor(stream: Storm, runs: int, say: Say) -> Race:
    """Race the ledger against the bare calls that the storm comes down to."""
    floor = RecordingTarget(stream)
    expected = decide(stream, floor)
    race = Race(len(stream.requests), expected.operations, expected.accepted, expected.digest)
    with frozen(), ledger(stream) as ours:  # making the stream is not measured
        for run in range(runs):
            outcome = ours()
            assert outcome.digest == race.digest, "the ledger decides differently"
            race.ledger.append(outcome.processor_rate)
            race.other.append(race.operations / floor.replay())
            say(f"run {run + 1}: ledger {race.ledger[-1]:,.0f}/s, bare {race.other[-1]:,.0f}/s")
    return race


def against_peer(stream: Storm, peer: Peer, runs: int, say: Say) -> Race:
    """Race the ledger against a peer, on as much of the storm as the peer can handle."""
    stream = stream.first(peer.requests)
    with peer.prepare(stream) as theirs, frozen(), ledger(stream) as ours:
        expected = ours()
        race = Race(len(stream.requests), expected.operations, expected.accepted, expected.digest)
        for run in range(runs):
            own, outcome = ours(), theirs()
            assert outcome.digest == race.digest, f"{peer.name} decides differently"
            alone = outcome.processor_seconds is not None
            race.ledger.append(own.processor_rate if alone else own.rate)
            race.other.append(outcome.processor_rate if alone else outcome.rate)
            say(f"run {run + 1}: ledger {race.ledger[-1]:,.0f}/s, it {race.other[-1]:,.0f}/s")
        race.latency_ns = latency_ns(theirs)
    return race


def latency_ns(attempt: Attempt) -> dict[str, float]:
    """Return the latency of each operation, from a separate run, because timing costs time."""
    timings = array("q")
    attempt(timings)
    return summary(timings)


def measure(scale: Scale, say: Say) -> Findings:
    """Race the ledger against the floor and against each peer."""
    stream = storm(requests=scale.requests)
    race = against_floor(stream, scale.runs, say)
    with ledger(stream) as ours:
        own_latency_ns = latency_ns(ours)
    findings = Findings(
        [
            Bar(
                "ledger, of the rate of bare SortedList calls",
                race.ratio, "%", least=0.25, note=f"{race.told}; the stretch goal is 35 %",
            )
        ]
    )  # fmt: skip
    peers: dict[str, object] = {}
    for peer in PEERS:
        say(f"{peer.name}, {peer.about}")
        runs = scale.runs if peer.fast else scale.few_runs
        try:
            peers[peer.name] = against = against_peer(stream, peer, runs, say)
        except Unavailable as reason:
            findings.skipped.append(f"{peer.name}: {reason}")
            continue
        name = f"ledger, of the rate of {peer.name}"
        findings.bars.append(Bar(name, against.ratio, "×", least=peer.factor, note=against.told))
    findings.runs = {"floor": race, "peers": peers, "latency_ns": own_latency_ns}
    return findings


def main() -> None:
    race = against_floor(storm(), FULL.runs, print)
    print(
        f"{race.operations:,} operations, {race.accepted:,} of {race.requests:,} accepted\n"
        f"ledger {median(race.ledger):,.0f}/s, bare SortedList calls {median(race.other):,.0f}/s: "
        f"{race.ratio:.0%}"
    )


if __name__ == "__main__":
    main()
