"""Training samples drawn from labelled candidates."""

import torch

from cascade_rcnn.matching import Matches
from cascade_rcnn.sampling import keep_all, sample


def matches_of(positive: list[bool], negative: list[bool]) -> Matches:
    p, n = torch.tensor([positive]), torch.tensor([negative])
    nothing = torch.zeros(1, len(positive))
    return Matches(p.long(), p, n, torch.zeros(1, len(positive)).long(), nothing)


def drawn(matches: Matches, number: int, fraction: float) -> tuple[int, int, int]:
    """Return the numbers of positives, negatives and empty slots; check that choices are valid and distinct."""
    chosen = sample(matches, number, fraction)
    rows = chosen.rows[0][chosen.valid[0]]
    assert len(set(rows.tolist())) == len(rows)
    positive = matches.positive[0][rows]
    assert bool((positive | matches.negative[0][rows]).all())
    assert positive.tolist() == sorted(positive.tolist(), reverse=True)  # positives first
    return int(positive.sum()), int((~positive).sum()), int((~chosen.valid).sum())


def mixed(positives: int, negatives: int, neither: int = 0) -> Matches:
    return matches_of(
        [True] * positives + [False] * (negatives + neither),
        [False] * positives + [True] * negatives + [False] * neither,
    )


def test_quota_and_fill():
    assert drawn(mixed(50, 50, 20), 16, 0.25) == (4, 12, 0)
    assert drawn(mixed(2, 50, 20), 16, 0.25) == (2, 14, 0)  # background fills what positives leave
    assert drawn(mixed(50, 3, 20), 16, 0.25) == (4, 3, 9)  # positives do not fill the background's place
    assert drawn(mixed(0, 50), 16, 0.25) == (0, 16, 0)
    assert drawn(mixed(0, 0, 30), 16, 0.25) == (0, 0, 16)


def test_the_quota_is_a_fraction_of_what_was_asked_for():
    """With fewer candidates than slots, all are sampled, up to the quota of 64 / 4 positives."""
    assert drawn(mixed(10, 10), 64, 0.25) == (10, 10, 0)
    assert drawn(mixed(20, 4), 64, 0.25) == (16, 4, 4)


def test_draws_are_uniform():
    torch.manual_seed(0)
    matches = mixed(8, 24, 4)
    count = torch.zeros(36)
    for _ in range(600):
        chosen = sample(matches, 16, 0.25)
        count[chosen.rows[0][chosen.valid[0]]] += 1
    # 4 of 8 positives and 12 of 24 negatives: each is drawn half of the time (standard deviation 12)
    assert bool(((count[:32] - 300).abs() < 60).all())
    assert count[32:].tolist() == [0] * 4


def test_images_of_a_batch_are_drawn_apart():
    positive = torch.tensor([[True, True, False, False], [False, False, False, False]])
    negative = torch.tensor([[False, False, True, False], [False, False, False, True]])
    chosen = sample(Matches(positive.long(), positive, negative, torch.zeros(2, 4).long(), torch.zeros(2, 4)), 4, 0.5)
    assert [sorted(r[v].tolist()) for r, v in zip(chosen.rows, chosen.valid, strict=True)] == [[0, 1, 2], [3]]


def test_keep_all_keeps_what_is_usable():
    chosen = keep_all(mixed(2, 1, 2))
    assert chosen.rows.tolist() == [[0, 1, 2, 3, 4]]
    assert chosen.valid.tolist() == [[True, True, True, False, False]]
