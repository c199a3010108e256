"""What the loading side of a runner tells about itself."""

from edged.runner import protocol
from edged.runner.loading import reads_so_far, telling_reads

STEP = protocol.Step(())


def test_reads_of_this_process() -> None:
    reads = reads_so_far()
    assert reads.read_bytes is None or reads.read_bytes >= 0
    assert reads.major_faults >= 0
    later = reads_so_far()
    assert later.major_faults >= reads.major_faults


def test_the_first_answer_is_followed_by_what_it_has_read_and_no_other() -> None:
    sent: list[protocol.FromRunner] = []
    send = telling_reads(sent.append)
    gauges = protocol.Gauges(busy_slots=1, queued_requests=0, queued_tokens=0)
    for frame in (gauges, STEP, STEP):
        send(frame)
    assert [type(frame) for frame in sent] == [
        protocol.Gauges,
        protocol.Step,
        protocol.Reads,
        protocol.Step,
    ]
