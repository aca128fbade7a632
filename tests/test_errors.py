"""What messages of every layer have in common."""

import pytest

from multinerf import errors


@pytest.mark.parametrize(
  'num_bytes, text',
  [
    (0, '0 B'),
    (1023, '1023 B'),
    (17 * 2**10, '17 KiB'),
    (3.4 * 2**20, '3 MiB'),
    (1.25 * 2**30, '1.2 GiB'),
    (2048 * 2**30, '2048.0 GiB'),
  ],
)
def test_bytes_are_written_in_the_largest_unit_that_fits(num_bytes, text):
  assert errors.format_bytes(num_bytes) == text
