"""Users, roles and grants, and the keys of encrypted databases."""

from __future__ import annotations

from mbk.milvus import management
from mbk.milvus.inventory import database_names
from mbk.milvus.rbac import PRIVILEGE_GROUPS_SINCE, read_rbac, restore_rbac
from mbk.milvus.server import Server
from mbk.model.records import Rbac
from mbk.ports.milvus.values import Feature


class Access:
    """Implements :class:`mbk.ports.milvus.roles.Access`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self) -> Rbac:
        whole = Feature.RBAC_BACKUP in self._server.features
        return read_rbac(self._server, () if whole else database_names(self._server), whole=whole)

    def restore(self, rbac: Rbac) -> list[str]:
        return restore_rbac(
            self._server,
            rbac,
            self.read(),
            whole=Feature.RBAC_BACKUP in self._server.features,
            groups=self._server.number >= PRIVILEGE_GROUPS_SINCE,
        )

    def encryption_key(self, database: str) -> str:
        return management.encryption_key(self._server.settings.management_endpoint, database)
