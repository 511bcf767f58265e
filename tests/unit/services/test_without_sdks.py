"""With keys in the settings no vendor's SDK is loaded, whatever is asked of its storage but to make a bucket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.services.test_impostors import STORAGES

ROOT = Path(__file__).parents[3]
SDKS = (
    "azure",
    "botocore",
    "boto3",
    "google.auth",
    "google.cloud",
    "oss2",
    "qcloud_cos",
    "requests",
    "urllib3",
)

ASKED = """
import sys
from contextlib import suppress
from mbk.errors import MbkError
from tests.unit.services.test_impostors import CALLS, STORAGES

storage = STORAGES[sys.argv[1]]({"address": "127.0.0.1", "port": 1, "use_ssl": False, "bucket": "bucket"})
for call in CALLS.values():
    with suppress(MbkError):
        call(storage)
storage.close()
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize("vendor", STORAGES)
def test_with_keys_in_the_settings_no_sdk_is_loaded(vendor: str) -> None:
    command = [sys.executable, "-c", ASKED, vendor, *SDKS]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []
