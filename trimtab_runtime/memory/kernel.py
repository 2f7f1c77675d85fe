"""The arithmetic of exits and of semantic memory: one frame at one tap.

Written once for two callers: a device runs it as it stands, a replay compiles it (Numba). So:
plain functions on NumPy arrays and NamedTuples of arrays, which they change in place.

A frame is answered so: `nearest_thumbnail` before any network; at each tap `look`; where nothing
answers, the network's own probabilities through `weighed`. Then `keep` at every tap that was
passed, `keep_thumbnail`, and `end_frame`. Source of centres, hot classes and their measure: Li et
al., Boosting mobile CNN inference through semantic memory (SMTM), ACM MM 2021.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any  # numpy.typing needs NumPy 1.20 with its plugin; boards may have less

NETWORK, THUMBNAILS, INSTANCES, CENTRES, HEADS = 0, 1, 2, 3, 4
NEVER = -1
_TINY = 1e-12


class Entries(NamedTuple):
    """Recent inputs: `vectors` (n, size) float32, the probabilities `said` (n, classes) float32
    of their answers, and the frame (n,) int64 at which each was last of use (NEVER: empty)."""

    vectors: Array
    said: Array
    used: Array


class TapState(NamedTuple):
    """What one tap remembers: `entries`; `centres` (classes, channels) float32 of standardised
    vectors with their lengths `norms` (classes,) and how many `members` (classes,) made them."""

    entries: Entries
    centres: Array
    norms: Array
    members: Array


class TapModel(NamedTuple):
    """What never changes at a tap: `mean`, `scale` (channels,) float32 standardise; temperatures
    calibrate; which kinds are asked."""

    mean: Array
    scale: Array
    head_temperature: float
    centre_temperature: float
    instances: bool
    centres: bool
    heads: bool


class PlanState(NamedTuple):
    """What a plan remembers: recent thumbnails; for hot classes how often (classes,) float64 and
    when last (classes,) int64 each was answered, and the `hot` ones (the first `hot_count[0]` of
    (classes,) int64); decayed `counts` of probabilities (classes,) float64 and `log_prior`
    (classes,) float32; the number of the frame in `clock[0]`."""

    thumbnails: Entries
    frequency: Array
    last_seen: Array
    hot: Array
    hot_count: Array
    counts: Array
    log_prior: Array
    clock: Array


class Rules(NamedTuple):
    """Thresholds (infinite where a kind does not answer: see exits.py) and settings."""

    thumbnails: float
    instances: float
    centres: float
    heads: float
    by_probability: bool
    update_at_exits: bool
    update_always: bool
    window: int
    hot_share: float
    decay: float
    smoothing: float
    prior_weight: float
    prior_final: float


def softmax(logits: Array) -> Array:
    """Probabilities (classes,)."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def standardised(vector: Array, model: TapModel) -> Array:
    """(channels,) float32."""
    return (vector - model.mean) * model.scale


def nearest_thumbnail(thumbnail: Array, entries: Entries) -> tuple[int, float]:
    """Entry and mean absolute difference of the most alike thumbnail."""
    distances = np.abs(entries.vectors - thumbnail).sum(axis=1) / np.float32(len(thumbnail))
    distances[entries.used == NEVER] = np.inf
    slot = int(distances.argmin())
    return slot, float(distances[slot])


def nearest_instance(vector: Array, entries: Entries) -> tuple[int, float]:
    """Entry and cosine of the most alike vector; entries are of length 1, `vector` is not."""
    cosines = np.dot(entries.vectors, vector)
    slot = int(cosines.argmax())
    return slot, float(cosines[slot]) / (float(np.sqrt(np.dot(vector, vector))) + _TINY)


def remember(vector: Array, said: Array, entries: Entries, slot: int, now: int) -> None:
    """Put an input into an entry; NEVER: into the one longest out of use."""
    if slot == NEVER:
        slot = int(entries.used.argmin())
    entries.vectors[slot] = vector
    entries.said[slot] = said
    entries.used[slot] = now


def look(
    vector: Array,
    logits: Array,
    state: TapState,
    model: TapModel,
    plan: PlanState,
    rules: Rules,
    scores: Array,
    said: Array,
) -> tuple[int, int]:
    """Who answers at a tap (NETWORK: nobody), and with which entry.

    `vector` (channels,) is standardised, `logits` (classes,) the head's. `scores` (classes,) are
    the centres' accumulated ones, updated; an answer's probabilities are left in `said`.
    """
    if model.instances:
        slot, cosine = nearest_instance(vector, state.entries)
        if cosine >= rules.instances and state.entries.used[slot] != NEVER:
            said[:] = state.entries.said[slot]
            return INSTANCES, slot
    if model.centres:
        hot = plan.hot[: plan.hot_count[0]]
        all_hot = len(hot) == len(plan.hot)
        length = np.float32(float(np.sqrt(np.dot(vector, vector))) + _TINY)
        if all_hot:
            scores *= np.float32(0.5)
            scores += np.dot(state.centres, vector) / (state.norms * length)
            found = scores
        else:
            near = np.dot(state.centres[hot], vector) / (state.norms[hot] * length)
            found = scores[hot] * np.float32(0.5) + near
            scores[hot] = found
        if rules.by_probability:
            weighted = found / np.float32(model.centre_temperature)
            if rules.prior_weight != 0.0:
                prior = plan.log_prior if all_hot else plan.log_prior[hot]
                weighted = weighted + np.float32(rules.prior_weight) * prior
            likely = softmax(weighted)
            measure = float(likely.max())
        else:
            best = int(found.argmax())
            first = found[best]
            found[best] = np.float32(-np.inf)
            second = float(found.max())
            found[best] = first
            # One class that is alike among none that are says nothing (Li et al. leave it open).
            measure = (float(first) - second) / second if second > _TINY else -np.inf
        if measure >= rules.centres:
            if not rules.by_probability:
                likely = softmax(found / np.float32(model.centre_temperature))
            said[:] = 0.0
            said[hot] = likely
            return CENTRES, NEVER
    if model.heads:
        weighted = logits / np.float32(model.head_temperature)
        if rules.prior_weight != 0.0:
            weighted = weighted + np.float32(rules.prior_weight) * plan.log_prior
        likely = softmax(weighted)
        if float(likely.max()) >= rules.heads:
            said[:] = likely
            return HEADS, NEVER
    return NETWORK, NEVER


def weighed(probabilities: Array, plan: PlanState, rules: Rules) -> Array:
    """A network's probabilities (classes,), times the running prior."""
    if rules.prior_final == 0.0:
        return probabilities
    found = np.log(np.maximum(probabilities, np.float32(1e-9)))
    return softmax(found + np.float32(rules.prior_final) * plan.log_prior)


def keep(
    vector: Array,
    said: Array,
    state: TapState,
    model: TapModel,
    plan: PlanState,
    rules: Rules,
    slot: int,
    at_tap: bool,
) -> None:
    """Learn from a frame at a tap that it passed: `slot` is the entry that answered here, if one
    did; `at_tap` whether it was answered at a tap of its network."""
    now = plan.clock[0]
    if model.instances:
        length = np.float32(np.sqrt(np.dot(vector, vector)) + _TINY)
        remember(vector / length, said, state.entries, slot, now)
    if model.centres and (rules.update_always or (rules.update_at_exits and at_tap)):
        answer = int(said.argmax())
        members = state.members[answer]
        centre = state.centres[answer]
        centre += (vector - centre) / np.float32(members + 1)
        state.members[answer] = members + 1
        state.norms[answer] = np.float32(np.sqrt(np.dot(centre, centre)) + _TINY)


def keep_thumbnail(thumbnail: Array, said: Array, plan: PlanState, slot: int) -> None:
    """Learn a frame's thumbnail; `slot` is the entry that answered, if one did."""
    remember(thumbnail, said, plan.thumbnails, slot, plan.clock[0])


def end_frame(answer: int, said: Array, plan: PlanState, rules: Rules) -> None:
    """Count an answer and its probabilities. Every `window` frames the hot classes are chosen
    anew."""
    plan.counts[:] = plan.counts * rules.decay + said * (1.0 - rules.decay)
    if rules.prior_weight > 0.0 or rules.prior_final > 0.0:
        plan.log_prior[:] = np.log(plan.counts + rules.smoothing / len(plan.counts))
    now = plan.clock[0]
    plan.frequency[answer] += 1.0
    plan.last_seen[answer] = now
    plan.clock[0] = now + 1
    if rules.window > 0 and plan.clock[0] % rules.window == 0:
        choose_hot(plan, rules)


def choose_hot(plan: PlanState, rules: Rules) -> None:
    """The fewest classes, two at least, with `hot_share` of all scores."""
    away = (plan.clock[0] - 1 - plan.last_seen) // rules.window
    score = plan.frequency * 0.25 ** np.minimum(away, 400)
    # Stable, and summed one after another: so compiled code rounds and breaks ties alike.
    order = np.argsort(-score, kind="mergesort")
    sums = np.cumsum(score[order])
    count = max(int((sums < rules.hot_share * sums[-1]).sum()) + 1, min(2, len(order)))
    plan.hot[:count] = np.sort(order[:count])
    plan.hot_count[0] = count


#: What a compiler must know, callees first.
FUNCTIONS = (
    softmax,
    standardised,
    nearest_thumbnail,
    nearest_instance,
    remember,
    look,
    weighed,
    keep,
    keep_thumbnail,
    choose_hot,
    end_frame,
)
