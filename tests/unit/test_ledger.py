"""What a dispatcher remembers adds up, whatever it hears and forgets."""

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.messages import DispatcherAlive, LeasesHeld
from libs.common.store.lanes import Lane
from services.dispatcher.ledger import Ledger

ME, YOU, NOBODY = "dispatcher-me", "dispatcher-you", "dispatcher-gone"
ORGANIZATIONS = [UUID(int=n) for n in (1, 2, 3)]
LANES = [
    Lane(
        number,
        ORGANIZATIONS[number % 3],
        f"queue-{number}",
        "http://receiver.test",
        retries=number >= 3,
    )
    for number in range(6)
]
LEASES = [UUID(int=n) for n in range(100, 112)]


def ledger_with(*lanes):
    ledger = Ledger(ME)
    ledger.see(lanes)
    return ledger


def held(pod="pod-1", slots=100, **leases):
    by_dispatcher = {
        f"dispatcher-{name}": [str(each) for each in ids]
        for name, ids in leases.items()
    }
    return LeasesHeld(pod=pod, slots=slots, leases=by_dispatcher)


# --- credit ---------------------------------------------------------------------------


def test_what_pods_hold_is_held_whosever_it_is_until_they_are_silent():
    ledger = ledger_with()
    ledger.hear_dispatcher(DispatcherAlive(dispatcher=YOU), now=0.0)
    ledger.hear_pod(held(me=LEASES[:1], you=LEASES[1:3]), now=0.0)
    ledger.hear_pod(held(you=LEASES[2:4]), now=2.0)

    assert ledger.held(now=2.0) == set(LEASES[:4])
    assert ledger.held(now=4.0) == set(LEASES[2:4])
    assert ledger.held(now=6.0) == set()


def test_without_pods_there_is_no_credit():
    ledger = ledger_with(LANES[0])

    assert ledger.slots(now=0.0) == 0
    assert ledger.quotas(now=0.0, most=100) == {}


def test_credit_is_what_all_pods_carry_said_last():
    ledger = ledger_with(LANES[0])
    ledger.hear_pod(held("pod-1", slots=100), now=0.0)
    ledger.hear_pod(held("pod-2", slots=50), now=0.5)
    ledger.hear_pod(held("pod-1", slots=70), now=1.0)

    assert ledger.slots(now=1.0) == 120


def test_dispatchers_share_the_credit_and_count_themselves_once():
    ledger = ledger_with(LANES[0])
    ledger.hear_pod(held(slots=101), now=0.0)
    assert ledger.slots(now=0.0) == 101

    for name in (ME, YOU, NOBODY):
        ledger.hear_dispatcher(DispatcherAlive(dispatcher=name), now=0.0)

    assert ledger.slots(now=0.0) == 101 // 3
    # More dispatchers than slots: each may still hand out something.
    ledger.hear_pod(held(slots=2), now=0.0)
    assert ledger.slots(now=0.0) == 1


def test_who_falls_silent_has_no_part_any_more():
    ledger = ledger_with(LANES[0])
    ledger.hear_pod(held("pod-1", slots=100), now=0.0)
    ledger.hear_pod(held("pod-2", slots=60), now=3.0)
    ledger.hear_dispatcher(DispatcherAlive(dispatcher=YOU), now=0.0)

    assert ledger.slots(now=3.4) == 80
    assert ledger.slots(now=3.6) == 60
    assert ledger.slots(now=9.0) == 0
    ledger.hear_pod(held("pod-1", slots=100), now=9.0)
    assert ledger.slots(now=9.0) == 100


def test_what_is_out_is_not_free():
    ledger = ledger_with(LANES[0], LANES[1])
    ledger.hear_pod(held(slots=64), now=0.0)
    ledger.hand_out(LEASES[0], [0] * 20 + [1] * 20, now=0.0)

    quotas = ledger.quotas(now=0.0, most=1000)

    # 24 are left; each lane may have 32 of them.
    assert quotas == {0: 12, 1: 12}


def test_more_out_than_there_are_slots_is_no_credit():
    ledger = ledger_with(LANES[0])
    ledger.hear_pod(held(slots=100), now=0.0)
    ledger.hand_out(LEASES[0], [0] * 90, now=0.0)
    ledger.hear_pod(held(slots=10), now=0.1)

    assert ledger.quotas(now=0.1, most=1000) == {}


# --- leases ---------------------------------------------------------------------------


def test_ours_to_renew_are_our_own_and_those_of_the_silent():
    ledger = ledger_with(LANES[0])
    ledger.hear_dispatcher(DispatcherAlive(dispatcher=YOU), now=0.0)
    word = held(me=LEASES[:1], you=LEASES[1:2], gone=LEASES[2:3])

    assert ledger.hear_pod(word, now=1.0) == [LEASES[0], LEASES[2]]
    # Nothing heard of you for so long: somebody must renew them.
    assert ledger.hear_pod(word, now=4.0) == LEASES[:3]


def test_that_a_batch_was_taken_up_is_to_be_noted_once():
    ledger = ledger_with(LANES[0])
    ledger.hand_out(LEASES[0], [0], now=0.0)
    ledger.hand_out(LEASES[1], [0], now=0.0)
    assert ledger.unnoted() == []

    # Heard twice before anybody had time to write it down.
    ledger.hear_pod(held(me=LEASES[:1]), now=0.1)
    ledger.hear_pod(held(me=[]), now=1.1)
    assert ledger.unnoted() == LEASES[:1]

    ledger.note(LEASES[0])
    ledger.note(LEASES[5])
    ledger.hear_pod(held(me=LEASES[:1]), now=2.1)
    assert ledger.unnoted() == []


def test_a_lease_that_is_renewed_is_alive():
    ledger = ledger_with(LANES[0])
    ledger.hand_out(LEASES[0], [0], now=0.0)
    ledger.keep_alive(LEASES[0], now=8.0)
    ledger.keep_alive(LEASES[5], now=8.0)

    ledger.forget_silent(now=10.0, seconds=9.0)

    assert LEASES[0] in ledger.handed_out


def test_a_batch_is_out_until_its_last_job_is_closed():
    ledger = ledger_with(LANES[0], LANES[1])
    ledger.hand_out(LEASES[0], [0, 0, 1], now=0.0)

    ledger.close(LEASES[0], 0)
    ledger.close(LEASES[0], 1)
    # Said twice, and of a lane that is not in it: nothing more comes back.
    ledger.close(LEASES[0], 1)
    ledger.close(LEASES[0], 5)
    assert LEASES[0] in ledger.handed_out

    ledger.close(LEASES[0], 0)
    assert not ledger.handed_out
    ledger.close(LEASES[0], 0)
    assert_adds_up(ledger)


def assert_adds_up(ledger):
    """What is counted by lane and by organization is what is out."""
    by_lane: Counter[int] = Counter()
    by_organization: Counter[UUID] = Counter()
    for handed in ledger.handed_out.values():
        assert handed.open.total() > 0
        assert min(handed.open.values()) >= 0
        by_lane.update(handed.open)
    for lane_id, jobs in by_lane.items():
        by_organization[LANES[lane_id].organization_id] += jobs
    assert ledger._by_lane == +by_lane
    assert ledger._by_organization == +by_organization
    assert ledger._retrying == sum(
        jobs for lane_id, jobs in by_lane.items() if LANES[lane_id].retries
    )
    assert all(jobs > 0 for jobs in ledger._by_lane.values())


moves = st.one_of(
    st.tuples(
        st.just("hand_out"),
        st.sampled_from(LEASES),
        st.lists(st.integers(0, 5), min_size=1, max_size=8),
    ),
    st.tuples(st.just("close"), st.sampled_from(LEASES), st.integers(0, 5)),
    st.tuples(st.just("renew"), st.sampled_from(LEASES), st.none()),
    st.tuples(st.just("forget"), st.none(), st.sampled_from([0.0, 2.0, 9.0])),
)


@given(st.lists(moves, max_size=60))
def test_the_counters_add_up_whatever_happens(steps):
    ledger, now, used = ledger_with(*LANES), 0.0, set()
    ledger.hear_pod(held(slots=50), now=now)
    for verb, lease_id, argument in steps:
        now += 0.5
        match verb:
            case "hand_out" if lease_id not in used:
                # A lease id is never used again.
                used.add(lease_id)
                ledger.hand_out(lease_id, argument, now=now)
            case "close":
                ledger.close(lease_id, argument)
            case "renew" if lease_id in ledger.handed_out:
                ledger.keep_alive(lease_id, now=now)
            case "forget":
                ledger.forget_silent(now=now, seconds=argument)
                assert all(
                    now - handed.alive_at <= argument
                    for handed in ledger.handed_out.values()
                )
        assert_adds_up(ledger)
        ledger.hear_pod(held(slots=50), now=now)
        out = sum(handed.open.total() for handed in ledger.handed_out.values())
        quotas = ledger.quotas(now=now, most=40)
        assert sum(quotas.values()) <= max(0, min(40, 50 - out))

    ledger.forget_silent(now=now + 100, seconds=1.0)
    assert not ledger.handed_out
    assert not ledger._by_lane
    assert not ledger._by_organization
    assert not ledger._retrying


def test_what_was_forgotten_may_still_be_closed_by_somebody():
    ledger = ledger_with(LANES[0])
    ledger.hand_out(LEASES[0], [0, 0], now=0.0)
    ledger.forget_silent(now=10.0, seconds=9.0)

    ledger.close(LEASES[0], 0)

    assert_adds_up(ledger)
    assert ledger.unnoted() == []


# --- who is next ----------------------------------------------------------------------


def test_only_lanes_that_are_ready_get_something():
    ledger = ledger_with(LANES[0], LANES[1])
    ledger.hear_pod(held(slots=100), now=0.0)
    ledger.ready.discard(0)

    assert ledger.quotas(now=0.0, most=8) == {1: 8}
