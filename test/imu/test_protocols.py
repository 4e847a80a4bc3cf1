"""The serial protocols: manufacturers' example frames, round trips, any chunking, garbage; x-IMU3
against its manufacturer's package.
"""

import math
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pallas_ros.body.errors import PallasError
from pallas_ros.imu.protocols import PROTOCOLS, Reading, protocol
from pallas_ros.imu.protocols.euler import euler_from_quaternion, quaternion_from_euler
from pallas_ros.imu.sample import GRAVITY

BINARY = [name for name in PROTOCOLS if name != "csv"]


def readings(name: str, data: bytes) -> list[Reading]:
    return PROTOCOLS[name].decoder().feed(data)


# Frames from the makers


def test_bno08x_frame_of_the_data_sheet() -> None:
    """BNO080 data sheet 1000-3927 (Hillcrest, October 2017), section 1.3.5.2: the example message
    and its values.
    """
    (reading,) = readings(
        "bno08x_rvc", bytes.fromhex("AAAA DE 0100 92FF 2508 8DFE ECFF D103 000000 E7")
    )
    assert reading.orientation is not None
    assert reading.acceleration is not None
    roll, pitch, yaw = np.degrees(euler_from_quaternion(reading.orientation))
    assert (yaw, pitch, roll) == pytest.approx((0.01, -1.10, 20.85), abs=1e-9)
    assert reading.acceleration == pytest.approx((-3.638, -0.196, 9.581), abs=1e-3)


def test_xsens_frame_recorded_from_an_mti() -> None:
    """A message of an MTi with time, quaternion, delta-q, acceleration, field and status; format:
    Xsens MT0101P, MTData2. It was recorded from a device, as its checksum and the norms of its
    vectors confirm; the document itself contains no example.
    """
    frame = bytes.fromhex(
        "FAFF364E 106004025335CB 2010103F7FFA66BB4034B83C49962D3B5A1F82"
        " 80200C39FF9101BAECDD81BA865380 40200CBE64DB99BCE7FF83411DC2CF"
        " C0200CBE9048803F673204BF548904 E0200400000003 C9"
    )
    (reading,) = readings("xsens", frame)
    assert reading.device_time == pytest.approx(0x025335CB / 10_000)
    assert reading.orientation is not None
    assert reading.acceleration is not None
    assert reading.magnetic_field is not None
    assert np.linalg.norm(reading.orientation) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(reading.acceleration) == pytest.approx(GRAVITY, abs=0.1)
    assert np.linalg.norm(reading.magnetic_field) == pytest.approx(1.25, abs=0.05)
    # at rest: quaternion and accelerometer agree on up
    up = Rotation.from_quat(reading.orientation).apply(reading.acceleration)
    assert up / np.linalg.norm(up) == pytest.approx([0, 0, 1], abs=0.03)


def test_xsens_numbers_of_the_protocol_document() -> None:
    """Xsens MTi User Manual MT0605P, section 5.7.1: 9.81 is sent as 41 1C F5 C3, big-endian."""
    payload = bytes.fromhex("40200C 00000000 00000000 411CF5C3")
    body = bytes((0xFF, 0x36, len(payload))) + payload
    (reading,) = readings("xsens", b"\xfa" + body + bytes((-sum(body) & 0xFF,)))
    assert reading.acceleration == pytest.approx((0, 0, 9.81), abs=1e-6)


XIMU3_SECOND = "40420F0000000000"


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (
            "C9" + XIMU3_SECOND + "00000000" * 5 + "0000803F" + "0A",
            {"acceleration": (0, 0, GRAVITY), "angular_velocity": (0, 0, 0)},
        ),
        (
            "CC" + XIMU3_SECOND + "0000803F" + "00000000" * 6 + "0A",
            {"acceleration": (0, 0, GRAVITY), "orientation": (0, 0, 0, 1)},
        ),
    ],
)
def test_ximu3_frames_of_the_manual(frames: str, expected: dict[str, tuple[float, ...]]) -> None:
    """x-IMU3 User Manual v0.11 (x-io Technologies), 8.2.2 inertial message and 8.2.7 linear
    acceleration message, at 1 second.
    """
    decoder = PROTOCOLS["ximu3"].decoder()
    found = decoder.feed(bytes.fromhex(frames)) + decoder.feed(
        bytes.fromhex("C9") + (10**6 + 10**5).to_bytes(8, "little") + bytes(24) + b"\n"
    )
    assert found[0].device_time == 1.0
    for key, value in expected.items():
        assert getattr(found[0], key) == pytest.approx(value)


def test_ximu3_ascii_of_the_manual() -> None:
    """The same manual, ASCII form: inertial message at 1 second."""
    decoder = PROTOCOLS["ximu3"].decoder()
    decoder.feed(b"I,1000000,0.0000,0.0000,0.0000,0.0000,0.0000,1.0000\r\n")
    (reading,) = decoder.feed(b"I,1100000,0.0000,0.0000,0.0000,0.0000,0.0000,1.0000\r\n")
    assert reading.acceleration == pytest.approx((0, 0, GRAVITY))


def test_witmotion_frame_of_the_makers_example() -> None:
    """The example frame in the comments of WitMotion's own Python sample: acceleration of a sensor
    lying nearly flat.
    """
    (reading,) = readings("witmotion", bytes.fromhex("5551 31FF 5302 CD07 120A 1B") * 2)[:1]
    assert reading.acceleration == pytest.approx(
        [v / 32768 * 16 * GRAVITY for v in (-207, 595, 1997)]
    )
    assert reading.temperature == pytest.approx(25.78)


def test_witmotion_scales_of_the_manual() -> None:
    """WitMotion WT901 manual: a = int16 / 32768 * 16 g, w = int16 / 32768 * 2000 deg/s, angle =
    int16 / 32768 * 180 deg; sum of the bytes.
    """

    def frame(kind: int, *values: int) -> bytes:
        body = struct.pack("<BB4h", 0x55, kind, *values)
        return body + bytes((sum(body) & 0xFF,))

    run = (
        frame(0x51, 0, 1024, 2048, 2534)
        + frame(0x52, 16384, 0, -16384, 0)
        + frame(0x53, 0, 0, 16384, 0)
    )
    (reading,) = readings("witmotion", run + run[:11])[:1]
    assert reading.acceleration == pytest.approx((0, 0.5 * GRAVITY, GRAVITY))
    assert reading.angular_velocity == pytest.approx((math.radians(1000), 0, -math.radians(1000)))
    assert reading.orientation == pytest.approx(
        (0, 0, math.sin(math.pi / 4), math.cos(math.pi / 4))
    )
    assert reading.temperature == pytest.approx(25.34)


# Round trips and references


def turned(seed: int) -> Reading:
    rng = np.random.default_rng(seed)
    x, y, z, w = Rotation.random(random_state=seed).as_quat()
    vectors = [tuple(float(v) for v in rng.uniform(-s, s, 3)) for s in (30, 10, 1)]
    return Reading(
        1000.0 + seed,
        vectors[0],
        vectors[1],
        (float(x), float(y), float(z), float(w)),
        vectors[2],
        25.0,
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_decoding_inverts_encoding(name: str) -> None:
    spec = PROTOCOLS[name]
    encoder = spec.encoder()
    sent = [turned(i) for i in range(50)]
    got = readings(
        name, b"".join(encoder.encode(reading) for reading in sent) + encoder.encode(turned(99))
    )
    assert len(got) in (50, 51)
    scale = 1000.0 if name == "witmotion" else 1.0  # its field has no unit
    for a, b in zip(sent, got, strict=False):
        assert b.acceleration == pytest.approx(a.acceleration, abs=0.006)
        if "angular_velocity" in spec.sends:
            assert b.angular_velocity == pytest.approx(a.angular_velocity, abs=0.002)
        if "magnetic_field" in spec.sends:
            assert b.magnetic_field == pytest.approx(
                tuple(v * scale for v in a.magnetic_field or ()), abs=0.0006 * scale
            )
        assert b.orientation is not None
        off = Rotation.from_quat(a.orientation).inv() * Rotation.from_quat(b.orientation)
        assert np.degrees(off.magnitude()) < 0.02
        if name != "bno08x_rvc":
            assert b.device_time == pytest.approx(a.device_time, abs=0.0006)


@pytest.mark.parametrize("reference", ["ENU", "NED", "NWU"])
@pytest.mark.parametrize("free", [False, True])
def test_xsens_references(reference: str, free: bool) -> None:
    """The same attitude has z up in all three reference frames; a free acceleration becomes the
    specific force.
    """
    to_ned = Rotation.from_matrix([[0, 1, 0], [1, 0, 0], [0, 0, -1]])  # ENU to NED
    to_reference = {
        "ENU": Rotation.identity(),
        "NED": to_ned,
        "NWU": Rotation.from_euler("z", -90, degrees=True),
    }[reference]
    attitude = Rotation.from_euler("ZYX", [30, 20, -50], degrees=True)  # sensor to ENU
    x, y, z, w = (to_reference * attitude).as_quat()
    bits = {"ENU": 0, "NED": 4, "NWU": 8}[reference]
    felt = np.array([1.0, -2.0, 8.0])
    payload = struct.pack(">HB4f", 0x2010 | bits, 16, w, x, y, z)
    if free:
        world = attitude.apply(felt) - [0, 0, GRAVITY]
        payload += struct.pack(">HB3f", 0x4030 | bits, 12, *to_reference.apply(world))
    else:
        payload += struct.pack(">HB3f", 0x4020, 12, *felt)
    body = bytes((0xFF, 0x36, len(payload))) + payload
    (reading,) = readings("xsens", b"\xfa" + body + bytes((-sum(body) & 0xFF,)))
    assert reading.acceleration == pytest.approx(felt, abs=1e-5)
    turned_by = Rotation.from_quat(reading.orientation) * attitude.inv()
    assert (
        np.linalg.norm(turned_by.as_rotvec()[:2]) < 1e-6
    )  # only the heading may differ (NWU has x to the north)
    assert turned_by.magnitude() == pytest.approx(
        math.pi / 2 if reference == "NWU" else 0, abs=1e-6
    )


def test_xsens_fixed_point_and_double_formats() -> None:
    values = (1.25, -2.5, 9.75)
    packets = [
        struct.pack(">HB", 0x4021, 12) + struct.pack(">3i", *(int(v * 2**20) for v in values)),
        struct.pack(">HB", 0x4022, 18)
        + b"".join(struct.pack(">Ih", int(v % 1 * 2**32), math.floor(v)) for v in values),
        struct.pack(">HB", 0x4023, 24) + struct.pack(">3d", *values),
    ]
    for payload in packets:
        body = bytes((0xFF, 0x36, len(payload))) + payload
        (reading,) = readings("xsens", b"\xfa" + body + bytes((-sum(body) & 0xFF,)))
        assert reading.acceleration == pytest.approx(values)


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
def test_euler_angles_against_scipy(roll: float, pitch: float, yaw: float) -> None:
    q = quaternion_from_euler(roll, pitch, yaw)
    reference = Rotation.from_euler("ZYX", [yaw, pitch, roll])
    assert (Rotation.from_quat(q) * reference.inv()).magnitude() < 1e-7
    assert euler_from_quaternion(q) == pytest.approx((roll, pitch, yaw), abs=1e-6)


def test_ximu3_package_reads_what_the_encoder_writes(tmp_path: Path) -> None:
    """The manufacturer's decoder (`ximu3`) is the reference."""
    ximu3 = pytest.importorskip("ximu3")
    encoder = PROTOCOLS["ximu3"].encoder()
    sent = [turned(i) for i in range(20)]
    path = tmp_path / "log.ximu3"
    path.write_bytes(b"".join(encoder.encode(reading) for reading in sent))
    inertial = []
    quaternions = []
    connection = ximu3.Connection(ximu3.FileConnectionConfig(str(path)))
    connection.add_inertial_callback(inertial.append)
    connection.add_quaternion_callback(quaternions.append)
    connection.open()
    until = time.monotonic() + 10
    while len(quaternions) < 20 and time.monotonic() < until:
        time.sleep(0.01)
    connection.close()
    assert len(inertial) == len(quaternions) == 20
    for a, m, q in zip(sent, inertial, quaternions, strict=True):
        assert (m.accelerometer_x * GRAVITY, m.accelerometer_z * GRAVITY) == pytest.approx(
            (a.acceleration[0], a.acceleration[2]), rel=1e-5
        )  # type: ignore[index]
        assert math.radians(m.gyroscope_y) == pytest.approx(a.angular_velocity[1], rel=1e-5)  # type: ignore[index]
        assert (q.x, q.y, q.z, q.w) == pytest.approx(a.orientation, abs=1e-6)
        assert m.timestamp == round((a.device_time or 0) * 1e6)


# Bytes as they come


@pytest.mark.parametrize("name", PROTOCOLS)
@given(data=st.data())
def test_chunking_makes_no_difference(name: str, data: st.DataObject) -> None:
    encoder = PROTOCOLS[name].encoder()
    stream = (
        b"".join(encoder.encode(turned(i)) for i in range(6))
        + data.draw(st.binary(max_size=40))
        + encoder.encode(turned(7)) * 2
    )
    whole = readings(name, stream)
    decoder = PROTOCOLS[name].decoder()
    pieces = []
    at = 0
    while at < len(stream):
        step = data.draw(st.integers(1, 60))
        pieces += decoder.feed(stream[at : at + step])
        at += step
    assert pieces == whole


@pytest.mark.parametrize("name", BINARY)
def test_a_damaged_frame_is_counted_and_costs_only_itself(name: str) -> None:
    if name == "ximu3":
        pytest.skip("x-IMU3 messages have no checksum")
    encoder = PROTOCOLS[name].encoder()
    frames = [encoder.encode(turned(i)) for i in range(10)]
    damaged = bytearray(frames[4])
    damaged[9] ^= 0x10
    decoder = PROTOCOLS[name].decoder()
    got = decoder.feed(
        b"".join([*frames[:4], bytes(damaged), *frames[5:]]) + encoder.encode(turned(11))
    )
    assert decoder.stats.checksum_errors == 1
    assert len(got) >= 10
    assert decoder.stats.lost == (0 if name == "witmotion" else 1)


def summed(body: bytes) -> bytes:
    return body + bytes((sum(body) & 0xFF,))


def test_a_false_frame_of_high_type_does_not_shift_the_end_of_runs() -> None:
    """Regression (WitMotion): garbage with a checksum valid by chance looked like a longer run, and
    the next seven measurements were lost.
    """
    encoder = PROTOCOLS["witmotion"].encoder()
    decoder = PROTOCOLS["witmotion"].decoder()
    before = decoder.feed(b"".join(encoder.encode(turned(i)) for i in range(10)))
    after = decoder.feed(
        summed(bytes((0x55, 0x5E)) + bytes(8))
        + b"".join(encoder.encode(turned(i)) for i in range(10, 20))
    )
    assert len(before) + len(after) == 20


@pytest.mark.parametrize("name", ["xsens", "bno08x_rvc", "witmotion"])
@pytest.mark.parametrize("cut", range(4, 11))
def test_a_frame_inside_one_that_is_valid_by_chance_is_recovered(name: str, cut: int) -> None:
    """The beginnings of two frames, with a checksum valid by chance, arrive in one chunk; the rest
    follows.
    """
    encoder = PROTOCOLS[name].encoder()
    decoder = PROTOCOLS[name].decoder()
    for i in range(4):
        decoder.feed(encoder.encode(turned(i)))
    sent = Reading(
        None if name == "witmotion" else 7.0, (1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (0.0, 0.0, 0.0, 1.0)
    )
    measurement = encoder.encode(sent)
    # WitMotion sends a run of frames, of which the first is swallowed here
    size = 11 if name == "witmotion" else len(measurement)
    false = measurement[:cut] + measurement[: size - cut]
    last = next(
        bytes((b,))
        for b in range(256)
        if _holds(decoder, false[: cut - 1] + bytes((b,)) + false[cut:])
    )
    stream = measurement[: cut - 1] + last + measurement
    got = decoder.feed(stream[:size])
    got += decoder.feed(stream[size:] + b"\x00" * 40)
    got += [r for i in range(2) for r in decoder.feed(encoder.encode(turned(5 + i)))]
    assert any(r.acceleration == pytest.approx((1.0, 2.0, 3.0), abs=0.006) for r in got)


def _holds(decoder: object, frame: bytes) -> bool:
    return decoder.holds(frame)  # type: ignore[attr-defined, no-any-return]


def test_of_two_valid_frames_the_one_with_empty_reserved_bytes_is_accepted() -> None:
    """BNO08x: a counter of 0xAA after the header gives a second header one byte later, and the
    checksum of that frame is valid by chance.
    """
    true = bytes.fromhex("aaaaaac631000000000104d006d60000000052")
    (reading,) = readings("bno08x_rvc", bytes.fromhex("aaaaa983") + true + b"\xfa\x02" + bytes(20))
    assert reading.acceleration == pytest.approx([v / 1000 * GRAVITY for v in (1025, 1744, 214)])


def test_clocks_that_wrap_run_on() -> None:
    encoder = PROTOCOLS["csv"].encoder()
    start = 2**32 / 1e6 - 0.05
    stream = b"".join(
        encoder.encode(Reading(start + 0.01 * i, (0, 0, 9.8), (0, 0, 0))) for i in range(20)
    )
    times = [r.device_time for r in readings("csv", stream)]
    np.testing.assert_allclose(np.diff(times), 0.01, atol=2e-6)  # type: ignore[arg-type]
    encoder = PROTOCOLS["witmotion"].encoder()
    stream = b"".join(
        encoder.encode(Reading(86399.95 + 0.01 * i, (0, 0, 9.8), (0, 0, 0), (0, 0, 0, 1)))
        for i in range(20)
    )
    times = [r.device_time for r in readings("witmotion", stream)]
    np.testing.assert_allclose(np.diff(times), 0.01, atol=2e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        b"$IMU,1,2,3",
        b"$IMU,1,a,0,0,0,0,0",
        b"$IMU,1,nan,0,0,0,0,0",
        b"$IMU,1,0,0,9.8,0,0,0*00",
        b"hello",
        b"$IMU,-5,0,0,9,0,0,0",
        b"$IMU,inf,0,0,9,0,0,0",
    ],
)
def test_lines_that_are_no_measurement(line: bytes) -> None:
    decoder = PROTOCOLS["csv"].decoder()
    assert decoder.feed(line + b"\n$IMU,5,0,0,9.8,0,0,0\n") == [
        Reading(5e-6, (0.0, 0.0, 9.8), (0.0, 0.0, 0.0))
    ]
    assert decoder.stats.skipped_bytes + decoder.stats.checksum_errors > 0


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(
        PallasError, match="unknown sensor protocol 'modbus': known are bno08x_rvc, csv, witmotion"
    ):
        protocol("modbus")
