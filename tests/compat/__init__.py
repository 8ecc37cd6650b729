"""What real tools, servers and daemons make of images."""

import pytest

pytest.register_assert_rewrite("tests.compat.registries")
