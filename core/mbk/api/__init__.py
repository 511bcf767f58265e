"""The REST server (extra ``api``): the classic ``/api/v1``, and ``/api/v2`` with jobs. Uses :mod:`mbk.session` only."""
