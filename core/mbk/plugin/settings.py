"""The base of every storage's settings, and how configuration names become its fields.

The dialects of the configuration (v1, v2, environment, ``--set``) are translated by :mod:`mbk.config` into one
vocabulary, the field names below. A backend's settings class declares those of them that it uses; a value given
for a name that the class does not declare is refused, with the key under which the user wrote it.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, SecretStr

Secret = SecretStr


class StorageSettings(BaseModel):
    """Settings of one opened storage. Frozen, unknown names refused, secrets masked in every representation.

    The vocabulary a subclass may declare (all optional unless it says otherwise): ``address`` host name,
    ``port``, ``region``, ``use_ssl``, ``ca_cert`` path of a PEM bundle, ``path_style`` (None: by the vendor's habit),
    ``access_key_id``, ``secret_access_key``, ``session_token``, ``use_iam``, ``iam_endpoint``, ``profile`` name in
    the vendor's credential files, ``account_name``, ``account_key``, ``connection_string``, ``sas_token``,
    ``credentials_file``, ``local_path`` directory as the Milvus process sees it, ``milvus_address`` and
    ``milvus_port`` how the Milvus process reaches the service, where that is another way than mbk's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    #: Names that may be set in a shared or inherited configuration without being used, and are then ignored.
    ignored: ClassVar[frozenset[str]] = frozenset()

    bucket: str = ""
    root_path: str = ""

    @property
    def root(self) -> str:
        """The root prefix: empty or ending with one ``/``. Slashes at its ends mean nothing, and several are one.

        Milvus strips them, and so do services that keep objects in directories: a key with a leading ``/`` would be
        written in one place and looked for in another.
        """
        elements = [element for element in self.root_path.split("/") if element]
        return "".join(f"{element}/" for element in elements)
