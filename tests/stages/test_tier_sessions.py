"""Conversations over several engines with KV tiers: each stays on one engine, all engines get some, and what was said is found again."""

import numpy as np

import mist_dse as md
from mist_dse.catalog import Catalog


def test_sessions_behind_one_system_prompt_are_spread_over_the_engines() -> None:
    """The system prompt is 32 names long, so that names alone would send every conversation to one engine."""
    design, workload = Catalog().design("kv_retrieval_chat"), Catalog().workload("sessions", rate=1.0, requests=400)
    run = md.simulate(design, workload)
    engine = np.flatnonzero(run.lowered.jobs.server == 0)
    owner = np.repeat(np.arange(400), np.diff(run.lowered.jobs.first))[engine]
    session, replica = run.requests.session[owner], run.records.visit_replica[engine]
    homes = {(int(one), int(at)) for one, at in zip(session, replica, strict=True)}
    assert len(homes) == len(set(session.tolist()))
    counts = np.bincount([at for _, at in homes], minlength=4)
    assert counts.max() - counts.min() <= 1


def test_a_turn_computes_what_is_new_alone() -> None:
    """Private tiers that keep everything: of a turn, what the turn before (prompt and answer) named is not computed again."""
    design, workload = Catalog().design("kv_retrieval_chat"), Catalog().workload("sessions", rate=1.0, requests=400)
    run = md.simulate(design, workload)
    engine = np.flatnonzero(run.lowered.jobs.server == 0)
    owner = np.repeat(np.arange(400), np.diff(run.lowered.jobs.first))[engine]
    computed = run.lowered.jobs.computed[engine]
    later = [(k, before) for k, before in enumerate(run.requests.follows[owner].tolist()) if before >= 0]
    assert later
    for k, before in later:
        said = run.requests.input_tokens[before] + run.requests.output_tokens[before]
        assert said - run.requests.hash_tokens < computed[k] <= run.requests.input_tokens[owner[k]] - 1
