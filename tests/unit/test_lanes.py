"""What is free is shared fairly, and nobody can take everything."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.lanes import Waiting, share

ACME, OTHER, THIRD = (UUID(int=n) for n in (1, 2, 3))
#: What is given out in one go: how uneven a share may be.
PIECE = 16


@st.composite
def situations(draw):
    """Lanes of some organizations, each with something in flight."""
    slots = draw(st.integers(0, 3000))
    weights = draw(st.lists(st.integers(1, 1000), min_size=5, max_size=5))
    lanes = [
        Waiting(
            number, UUID(int=organization), in_flight, retries, weights[organization]
        )
        for number, (organization, in_flight, retries) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.integers(1, 4), st.integers(0, 200), st.booleans())
                )
            )
        )
    ]
    # Lanes that do not wait have something in flight, too.
    in_flight = {
        organization: sum(
            x.in_flight for x in lanes if x.organization_id == organization
        )
        + draw(st.integers(0, 50))
        for organization in {lane.organization_id for lane in lanes}
    }
    # Lanes of retries that do not wait have something in flight as well.
    retrying = sum(x.in_flight for x in lanes if x.retries) + draw(st.integers(0, 50))
    return lanes, {
        "slots": slots,
        "free": draw(st.integers(0, slots)),
        "in_flight": in_flight,
        "most": draw(st.integers(0, 600)),
        "retrying": retrying,
    }


def caps(slots):
    return max(1, slots // 2), max(1, int(slots * 0.75))


def left_for_retries(lanes, *, slots, free, most, retrying, **_):
    """How much retries may get; None when nothing else waits."""
    if all(lane.retries for lane in lanes):
        return None
    return max(0, min(max(1, slots // 2) - retrying, -(-min(free, most) // 2)))


@given(situations())
def test_nobody_gets_more_than_there_is(situation):
    lanes, rest = situation
    quotas = share(lanes, **rest)

    assert all(quota > 0 for quota in quotas.values())
    assert quotas.keys() <= {lane.lane_id for lane in lanes}
    assert sum(quotas.values()) <= min(rest["free"], rest["most"])


@given(situations())
def test_nobody_is_brought_over_its_cap(situation):
    lanes, rest = situation
    quotas = share(lanes, **rest)
    lane_cap, organization_cap = caps(rest["slots"])

    for lane in lanes:
        if quota := quotas.get(lane.lane_id):
            assert lane.in_flight + quota <= lane_cap
    for organization, held in rest["in_flight"].items():
        got = sum(
            quotas.get(lane.lane_id, 0)
            for lane in lanes
            if lane.organization_id == organization
        )
        assert not got or held + got <= organization_cap


@given(situations())
def test_nothing_stays_free_while_somebody_may_have_it(situation):
    lanes, rest = situation
    quotas = share(lanes, **rest)
    lane_cap, organization_cap = caps(rest["slots"])
    got = dict(rest["in_flight"])
    for lane in lanes:
        got[lane.organization_id] += quotas.get(lane.lane_id, 0)
    retries = sum(quotas.get(lane.lane_id, 0) for lane in lanes if lane.retries)

    if sum(quotas.values()) < min(rest["free"], rest["most"]):
        assert all(
            got[lane.organization_id] >= organization_cap
            or lane.in_flight + quotas.get(lane.lane_id, 0) >= lane_cap
            or (lane.retries and retries == left_for_retries(lanes, **rest))
            for lane in lanes
        )


@given(situations())
def test_retries_leave_half_to_what_is_new(situation):
    lanes, rest = situation
    quotas = share(lanes, **rest)

    retries = sum(quotas.get(lane.lane_id, 0) for lane in lanes if lane.retries)
    most = left_for_retries(lanes, **rest)
    assert most is None or retries <= most


def test_a_storm_of_retries_leaves_half_of_the_slots_to_a_newcomer():
    storm = [Waiting(number, ACME, 0, retries=True) for number in range(100)]
    everybody = [*storm, Waiting(200, OTHER, 0)]

    def shared(lanes, free=400, retrying=0):
        return share(
            lanes, slots=400, free=free, in_flight={}, most=512, retrying=retrying
        )

    assert sum(shared(storm).values()) == 300
    # While something new waits, at most half of all are tried again, wherever.
    quotas = shared(everybody)
    assert quotas.pop(200) == 200
    assert sum(quotas.values()) == 200
    assert shared(everybody, free=200, retrying=200) == {200: 200}


def test_who_is_new_comes_first_when_nobody_has_anything():
    waiting = [Waiting(1, ACME, 0, retries=True), Waiting(2, ACME, 0)]

    quotas = share(waiting, slots=1000, free=1000, in_flight={}, most=1)

    assert quotas == {2: 1}


@given(st.integers(1, 30), st.integers(1, 30), st.integers(100, 600))
def test_organizations_get_what_is_their_weight(one, other, most):
    waiting = [Waiting(1, ACME, 0, weight=one), Waiting(2, OTHER, 0, weight=other)]

    quotas = share(waiting, slots=10_000, free=10_000, in_flight={}, most=most)

    got = [quotas.get(1, 0), quotas.get(2, 0)]
    assert sum(got) == most
    # To a piece, which weighs the more the less its owner does.
    assert abs(got[0] / one - got[1] / other) <= PIECE / min(one, other)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 600))
def test_organizations_get_the_same_however_many_lanes_they_have(count, lanes, most):
    waiting = [
        Waiting(organization * 100 + lane, UUID(int=organization), 0)
        for organization in range(count)
        for lane in range(lanes if organization else 40)
    ]

    quotas = share(waiting, slots=10_000, free=10_000, in_flight={}, most=most)

    got = [
        sum(quota for lane, quota in quotas.items() if lane // 100 == organization)
        for organization in range(count)
    ]
    assert sum(got) == most
    assert max(got) - min(got) <= PIECE


@given(st.integers(1, 20), st.integers(0, 600))
def test_lanes_of_one_organization_get_the_same(count, most):
    waiting = [Waiting(number, ACME, 0) for number in range(count)]

    quotas = share(waiting, slots=2000, free=2000, in_flight={}, most=most)

    got = [quotas.get(number, 0) for number in range(count)]
    assert max(got) - min(got) <= PIECE


def test_who_has_least_in_flight_comes_first():
    waiting = [Waiting(1, ACME, 90), Waiting(2, ACME, 10), Waiting(3, OTHER, 50)]
    in_flight = {ACME: 100, OTHER: 50}

    quotas = share(waiting, slots=1000, free=850, in_flight=in_flight, most=60)

    # First the organization with less, up to the other; then its emptiest lane.
    assert quotas == {3: 60}
    quotas = share(waiting, slots=1000, free=850, in_flight=in_flight, most=100)
    assert quotas[3] > quotas[2] > 0
    assert 1 not in quotas


@given(st.integers(2, 5000))
def test_a_newcomer_finds_room_at_once(slots):
    """However long somebody had everything to themselves."""
    hog = [Waiting(number, ACME, 0) for number in range(5)]
    taken = share(hog, slots=slots, free=slots, in_flight={}, most=slots)
    held = sum(taken.values())

    quotas = share(
        [*(Waiting(n, ACME, taken.get(n, 0)) for n in range(5)), Waiting(9, OTHER, 0)],
        slots=slots,
        free=slots - held,
        in_flight={ACME: held},
        most=slots,
    )

    assert quotas[9] > 0


@given(st.integers(2, 5000))
def test_a_hanging_receiver_leaves_room_for_the_others(slots):
    """One lane takes at most half, so that its neighbours go on."""
    taken = share(
        [Waiting(1, ACME, 0)], slots=slots, free=slots, in_flight={}, most=slots
    )
    assert taken == {1: slots // 2}

    waiting = [Waiting(1, ACME, taken[1]), Waiting(2, OTHER, 0), Waiting(3, THIRD, 0)]
    quotas = share(
        waiting,
        slots=slots,
        free=slots - taken[1],
        in_flight={ACME: taken[1]},
        most=slots,
    )

    assert quotas.keys() & {2, 3}


def test_nothing_waits_or_nothing_is_free():
    assert share([], slots=10, free=10, in_flight={}, most=10) == {}
    assert share([Waiting(1, ACME, 0)], slots=10, free=0, in_flight={}, most=9) == {}
    assert share([Waiting(1, ACME, 0)], slots=10, free=9, in_flight={}, most=0) == {}
    assert share([Waiting(1, ACME, 0)], slots=10, free=-5, in_flight={}, most=9) == {}
