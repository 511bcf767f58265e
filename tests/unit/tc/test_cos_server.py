"""The server that the COS plugin is tested on signs as the vendor documents."""

from __future__ import annotations

from tests.servers.cos import _signature
from tests.servers.front import Request


def test_the_documented_example_of_a_signature() -> None:
    """cloud.tencent.com, "Request signature" (436/7778): uploading an object."""
    request = Request(
        "PUT",
        "/exampleobject(%E8%85%BE%E8%AE%AF%E4%BA%91)",
        (),
        {
            "date": "Thu, 16 May 2019 06:45:51 GMT",
            "host": "examplebucket-1250000000.cos.ap-beijing.myqcloud.com",
            "content-type": "text/plain",
            "content-length": "13",
            "content-md5": "mQ/fVh815F3k6TAUm8m0eg==",
            "x-cos-acl": "private",
            "x-cos-grant-read": 'uin="100000000011"',
        },
        b"",
    )
    given = {
        "q-url-param-list": "",
        "q-header-list": "content-length;content-md5;content-type;date;host;x-cos-acl;x-cos-grant-read",
        "q-sign-time": "1557989151;1557996351",
        "q-key-time": "1557989151;1557996351",
    }
    secret = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz"
    assert _signature(request, given, secret) == "3b8851a11a569213c17ba8fa7dcf2abec6935172"
