"""The cells that a bin reads, by hand; the pooling tests compare the sums with torchvision's kernel."""

import torch

from cascade_rcnn.models.adaptive_grid import grid_points, read_cells


def read(low, length, bins: int, size=(10, 8), base: int = 0):
    lengths = torch.tensor([length])
    points = grid_points(lengths, bins)
    return read_cells(torch.tensor([low]), lengths, points, torch.tensor([size]), torch.tensor([base]), bins)


def test_as_many_points_as_a_bin_has_cells_begun():
    lengths = torch.tensor([[7.0, 7.1], [0.0, 14.0], [-3.0, 0.5]])
    assert grid_points(lengths, 7).tolist() == [[1, 2], [0, 2], [0, 1]]


def test_one_point_in_the_middle_of_a_bin_reads_its_four_neighbours():
    cells = read([2.0, 3.0], [1.0, 1.0], bins=1)  # the point (2.5, 3.5)
    assert cells.rows.tolist() == [32, 33, 42, 43]
    assert cells.weight.tolist() == [0.25] * 4
    assert cells.offsets.tolist() == [0]


def test_two_points_share_the_cell_between_them():
    cells = read([1.0, 0.0], [2.0, 1.0], bins=1)  # points (1.5, .5) and (2.5, .5)
    assert cells.rows.tolist() == [1, 2, 3, 11, 12, 13]
    assert cells.weight.tolist() == [0.125, 0.25, 0.125] * 2


def test_bins_follow_one_another_row_by_row():
    cells = read([0.0, 0.0], [4.0, 2.0], bins=2)  # points at x .5, 1.5 | 2.5, 3.5 and y .5 | 1.5
    assert cells.offsets.tolist() == [0, 6, 12, 18]
    assert cells.rows[6:12].tolist() == [2, 3, 4, 12, 13, 14]
    assert cells.rows[12:18].tolist() == [10, 11, 12, 20, 21, 22]


def test_another_map_begins_at_its_base():
    assert read([2.0, 3.0], [1.0, 1.0], bins=1, base=1000).rows.tolist() == [1032, 1033, 1042, 1043]


def test_beyond_the_border_nothing_is_read_and_on_it_the_last_cell():
    outside = read([-5.0, 0.0], [2.0, 1.0], bins=1)
    assert not outside.weight.any()
    border = read([8.5, 6.5], [1.0, 1.0], bins=1)  # the point (9, 7), the map's last cell
    assert border.weight.sum() == 1
    assert border.rows[border.weight > 0].tolist() == [79]
    assert int(border.rows.max()) == 79


def test_empty_boxes_read_nothing_and_do_not_disturb_others():
    low, length = torch.tensor([[1.0, 1], [2, 3], [4, 4]]), torch.tensor([[0.0, 0], [1, 1], [3, 0]])
    cells = read_cells(
        low, length, grid_points(length, 1), torch.tensor([[10, 8]] * 3), torch.zeros(3, dtype=torch.int64), 1
    )
    assert cells.rows.tolist() == [32, 33, 42, 43]
    assert cells.offsets.tolist() == [0, 0, 4]


def test_no_boxes():
    none = torch.zeros(0, 2)
    cells = read_cells(none, none, grid_points(none, 7), none.long(), torch.zeros(0, dtype=torch.int64), 7)
    assert len(cells.rows) == len(cells.offsets) == 0
