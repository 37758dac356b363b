import pytest
from commands import Compose

from kdsweep.errors import UserError
from kdsweep.runs.build_specs import build_specs
from kdsweep.runs.spec import RunSpec


def _specs(compose: Compose, *jobs: list[str], swept: tuple[str, ...] = ()) -> list[RunSpec]:
    configs = [compose("dataset=fake", *job) for job in jobs]
    return build_specs(configs, jobs, 0, swept)


def test_runs_share_the_spec_of_their_teacher(compose: Compose) -> None:
    first, second = _specs(compose, ["T=1"], ["T=4"], swept=("T",))
    assert first.fingerprint != second.fingerprint
    (teacher,), (same,) = first.teachers, second.teachers
    assert teacher.run is same.run
    assert teacher.run is not None
    assert (teacher.run.role, teacher.run.name) == ("teacher", "teacher cnn fake")
    assert first.cohort_key == second.cohort_key


def test_a_run_without_a_term_that_needs_it_has_no_teacher(compose: Compose) -> None:
    (spec,) = _specs(compose, ["loss=ce"])
    assert (spec.teachers, spec.teacher_identity, spec.teacher_name) == ((), None, None)


@pytest.mark.ci
def test_a_teacher_with_a_teacher_is_an_assistant(compose: Compose) -> None:
    (spec,) = _specs(compose, ["teacher=assistant"])
    (assistant,) = spec.teachers
    assert assistant.run is not None
    assert assistant.run.role == "assistant"
    assert [one.run.role for one in assistant.run.teachers if one.run] == ["teacher"]


def test_peers_share_the_run_and_have_fingerprints_of_their_own(compose: Compose) -> None:
    (spec,) = _specs(compose, ["teacher=peers", "T=2"], swept=("T",))
    assert spec.peers
    assert all(peer.role == "peer" for peer in spec.peers.values())
    assert len({spec.fingerprint, *(peer.fingerprint for peer in spec.peers.values())}) == 1 + len(
        spec.peers
    )
    assert {peer.swept for peer in spec.peers.values()} == {("T=2",)}


def test_runs_of_another_seed_share_no_cohort(compose: Compose) -> None:
    first, second = _specs(compose, ["seed=0"], ["seed=1"], swept=("seed",))
    assert first.cohort_key != second.cohort_key
    assert first.cell == second.cell


def test_an_error_names_the_runs_it_is_in(compose: Compose) -> None:
    with pytest.raises(UserError) as caught:
        _specs(compose, ["T=1"], ["T=0"], ["T=-1"], swept=("T",))
    assert str(caught.value).splitlines() == [
        "T must be a number from 1e-6 to 1e6, got 0 (run 1: T=0)",
        "T must be a number from 1e-6 to 1e6, got -1 (run 2: T=-1)",
    ]


def test_an_error_of_all_runs_names_none(compose: Compose) -> None:
    with pytest.raises(UserError) as caught:
        _specs(compose, ["T=1", "optimizer.lr=-1"], ["T=2", "optimizer.lr=-1"], swept=("T",))
    assert "run 0" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
