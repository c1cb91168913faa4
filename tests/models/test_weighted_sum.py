"""The sum and its gradient against a plain loop."""

import pytest
import torch

from cascade_rcnn.models.weighted_sum import (
    OPERATOR,
    RAGGED_OPERATOR,
    by_embedding_bag,
    ragged_weighted_sum,
    weighted_sum,
)


def case(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(7, (20, 4), generator=generator)
    index[index == 3] = 2  # a row that is never read
    table = torch.randn(7, 5, generator=generator, dtype=dtype)
    return index, table, torch.rand(20, 4, generator=generator, dtype=dtype)


def plain(index, table, weight):
    return (table[index] * weight[..., None]).sum(dim=1)


@pytest.mark.parametrize("how", [weighted_sum, by_embedding_bag])
def test_by_definition(how):
    torch.testing.assert_close(how(*case()), plain(*case()))


def test_by_hand():
    table = torch.tensor([[1.0, 10], [2, 20], [3, 30]], requires_grad=True)
    index, weight = torch.tensor([[0, 2], [2, 2]]), torch.tensor([[0.5, 1.0], [1.0, 2.0]])
    out = weighted_sum(index, table, weight)
    assert out.tolist() == [[3.5, 35], [9, 90]]
    out.sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[0.5, 0.5], [0, 0], [4, 4]]


def test_the_gradient_is_that_of_the_plain_sum():
    index, table, weight = case()
    gradients = []
    for how in (weighted_sum, plain):
        leaf = table.clone().requires_grad_()
        (how(index, leaf, weight) * torch.arange(5)).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)
    assert bool((gradients[0][3] == 0).all())


def test_no_sums():
    index, table, weight = case()
    table.requires_grad_()
    out = weighted_sum(index[:0], table, weight[:0])
    assert out.shape == (0, 5)
    out.sum().backward()
    assert table.grad is not None
    assert bool((table.grad == 0).all())


def test_the_weights_do_not_learn_and_take_the_tables_type():
    index, table, weight = case(torch.float32)
    out = weighted_sum(index, table.bfloat16(), weight.requires_grad_())
    assert out.dtype == torch.bfloat16
    assert not out.requires_grad


def test_the_operator_is_registered_soundly():
    index, table, weight = case(torch.float32)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(OPERATOR, (index, table.requires_grad_(), weight), test_utils=tests)


# -- sums of different lengths -------------------------------------------------------------------------------------


def test_ragged_by_hand():
    table = torch.tensor([[1.0, 10], [2, 20], [3, 30]], requires_grad=True)
    index, weight = torch.tensor([0, 2, 2, 1, 1]), torch.tensor([0.5, 1.0, 1.0, 2.0, 1.0])
    out = ragged_weighted_sum(index, table, weight, torch.tensor([0, 2, 2, 5]))
    assert out.tolist() == [[3.5, 35], [0, 0], [9, 90], [0, 0]]  # rows 0..1, none, 2..4, none
    (out * torch.tensor([1.0, 5, 10, 7])[:, None]).sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[0.5, 0.5], [30, 30], [11, 11]]


def test_ragged_sums_of_equal_length_are_the_others():
    index, table, weight = case()
    gradients = []
    for out, leaf in (
        (lambda t: weighted_sum(index, t, weight), table.clone().requires_grad_()),
        (
            lambda t: ragged_weighted_sum(index.flatten(), t, weight.flatten(), 4 * torch.arange(20)),
            table.clone().requires_grad_(),
        ),
    ):
        (out(leaf) * torch.arange(5)).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_the_ragged_operator_is_registered_soundly():
    index, table, weight = case(torch.float32)
    arguments = (index.flatten(), table.requires_grad_(), weight.flatten(), 4 * torch.arange(20))
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(RAGGED_OPERATOR, arguments, test_utils=tests)
