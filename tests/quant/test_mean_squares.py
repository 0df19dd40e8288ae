"""What encoders are given of an importance file."""

import numpy as np
import pytest

from qwill.errors import CheckpointError
from qwill.quant.importance import Importance, Statistics


def importance(sums: object, counts: object) -> Importance:
    statistics = Statistics(np.array(sums, np.float32), np.array(counts, np.float32))
    return Importance({"blk.0.ffn_up.weight": statistics}, source="some.gguf")


def means(found: Importance, columns: int, experts: int = 1) -> list[list[float]]:
    result = found.mean_squares("blk.0.ffn_up.weight", columns, experts)
    assert result is not None
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.flags.writeable
    return result.tolist()


def test_one_matrix() -> None:
    assert means(importance([[2, 4, 0]], [2]), 3) == [[1, 2, 0]]


def test_experts_without_tokens_get_the_mean_of_all_tokens() -> None:
    found = importance([[2, 4], [0, 0], [10, 2]], [1, 0, 3])
    assert means(found, 2, 3)[0] == [2, 4]
    assert means(found, 2, 3)[1] == [3, 1.5]
    np.testing.assert_allclose(means(found, 2, 3)[2], [10 / 3, 2 / 3], rtol=1e-6)


def test_one_row_stands_for_all_experts_or_holds_them_all() -> None:
    assert means(importance([[2, 4]], [2]), 2, 3) == [[1, 2]] * 3
    assert means(importance([[2, 4, 6, 8]], [2]), 2, 2) == [[1, 2], [3, 4]]


def test_nothing_is_known() -> None:
    found = importance([[0, 0], [0, 0]], [0, 0])
    assert found.mean_squares("blk.0.ffn_up.weight", 2, 2) is None
    assert found.mean_squares("blk.1.ffn_up.weight", 2, 2) is None
    assert "blk.0.ffn_up.weight" in found
    assert "blk.1.ffn_up.weight" not in found


@pytest.mark.parametrize(("columns", "experts"), [(3, 2), (2, 3), (2, 1), (4, 2)])
def test_another_models_statistics(columns: int, experts: int) -> None:
    found = importance([[1, 2], [3, 4]], [1, 1])
    with pytest.raises(CheckpointError, match=r"some\.gguf: blk\.0\.ffn_up\.weight has statistics of 2 x 2 .*another"):
        found.mean_squares("blk.0.ffn_up.weight", columns, experts)
