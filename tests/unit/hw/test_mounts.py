import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.hw.mounts import mount_of, parse_mountinfo
from tests.unit.hw.captured import MOUNTINFO_DOCKER, MOUNTINFO_PI


def test_fields_of_a_raspberry_pi() -> None:
    root, *_, nas = parse_mountinfo(MOUNTINFO_PI)

    assert (root.device, root.point, root.fs_type, root.source) == ("179:2", "/", "ext4", "/dev/root")
    assert (nas.point, nas.fs_type, nas.source) == ("/mnt/nas share", "nfs4", "nas:/export")
    assert "vers=4.2" in nas.options


def test_bind_mounts_tell_which_part_they_show() -> None:
    models = parse_mountinfo(MOUNTINFO_DOCKER)[-1]

    assert (models.root, models.point) == ("/srv/models", "/models")


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/models/a.gguf", "/models"),
        ("/models", "/models"),
        ("/models2/a.gguf", "/"),
        ("/tmp/x/y", "/tmp"),
    ],
)
def test_a_path_belongs_to_the_longest_mount_point(path: str, point: str) -> None:
    mount = mount_of(path, parse_mountinfo(MOUNTINFO_DOCKER))

    assert mount is not None
    assert mount.point == point


def test_a_later_mount_hides_an_earlier_one_at_the_same_point() -> None:
    over = MOUNTINFO_DOCKER + "704 700 0:62 / /tmp rw - ext4 /dev/sda1 rw\n"

    mount = mount_of("/tmp/x", parse_mountinfo(over))

    assert mount is not None
    assert mount.fs_type == "ext4"


def test_no_mount_without_a_table() -> None:
    assert mount_of("/x", ()) is None


@pytest.mark.parametrize("cut", range(0, len(MOUNTINFO_PI), 7))
def test_a_truncated_table_keeps_its_whole_lines(cut: int) -> None:
    whole = MOUNTINFO_PI[:cut].count("\n")

    assert parse_mountinfo(MOUNTINFO_PI)[:whole] == parse_mountinfo(MOUNTINFO_PI[:cut])[:whole]


def test_an_empty_source_is_one() -> None:
    (mount,) = parse_mountinfo("26 22 0:24 / /x rw - tmpfs  rw,size=4k")

    assert (mount.source, mount.options) == ("", ("rw", "size=4k"))


@given(st.text() | st.text(alphabet="0123:/ -\\\nabc"))
def test_never_raises(content: str) -> None:
    for mount in parse_mountinfo(content):
        assert mount.point.startswith("/")
