"""The REST server (extra ``api``): the classic ``/api/v1``, and ``/api/v2`` with jobs. Over :mod:`mbk.session` alone."""
