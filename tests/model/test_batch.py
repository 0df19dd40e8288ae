"""The arrays that sequences keep between steps."""

from itertools import pairwise

import numpy as np
import pytest
from checkpoints import tiny_config

from qwill.model.batch import KV_DTYPES, LINE, allocate_cache, cache_bytes
from qwill.model.config import model_config
from qwill.quant.types import TYPES


@pytest.mark.parametrize("drafts", [0, 3])
@pytest.mark.parametrize("kv", KV_DTYPES)
def test_arrays_lie_apart_and_are_zero(kv: str, drafts: int) -> None:
    config = model_config(tiny_config().to_dict()).text
    cache = allocate_cache(config, 3, 16, 5, TYPES[kv], drafts)
    lists = (cache.keys, cache.values, cache.conv_states, cache.states, cache.pending)
    arrays = [array for arrays in lists for array in arrays]
    assert all(not array.any() and array.flags.c_contiguous and array.flags.writeable for array in arrays)
    assert sum(array.nbytes for array in arrays) == cache_bytes(config, 3, 16, 5, TYPES[kv], drafts)
    places = sorted((array.ctypes.data, array.nbytes) for array in arrays if array.size)
    assert all(place % LINE == 0 for place, _ in places)
    assert all(place + size <= following for (place, size), (following, _) in pairwise(places))
    for number, array in enumerate(arrays):
        array.view(np.uint8)[...] = number + 1
    assert all((array.view(np.uint8) == number + 1).all() for number, array in enumerate(arrays))
