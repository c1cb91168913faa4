import asyncio
import json

import pytest

pytest.importorskip("prometheus_client")

from cascade_rcnn.serving.guard import Guard


async def echo(scope, receive, send):
    """Echo the body."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def ask(
    guard, *parts: bytes, kind=b"application/json", method="POST", path="/predict", length=None, key=None, query=b""
):
    headers = [(b"content-type", kind)] + ([(b"content-length", length)] if length else [])
    headers += [(b"X-API-Key", key)] if key else []
    messages = [{"type": "http.request", "body": part, "more_body": i < len(parts) - 1} for i, part in enumerate(parts)]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}
    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_what_it_lets_through_is_unchanged():
    assert ask(Guard(echo, 100), b'{"a"', b": 1}") == (200, b'{"a": 1}')
    form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    assert ask(Guard(echo, 100), form, kind=b"multipart/form-data; boundary=x") == (200, form)
    assert ask(Guard(echo, 100), b"", method="GET", path="/health") == (200, b"")


def test_media_types_in_any_case_arrive_as_litserve_knows_them():
    async def kinds(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        found = [value for name, value in scope["headers"] if name == b"content-type"]
        await send({"type": "http.response.body", "body": b"|".join(found)})

    form = b'--Xy\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--Xy--\r\n'
    found = ask(Guard(kinds, 100), form, kind=b"Multipart/Form-Data; boundary=Xy")
    assert found == (200, b"multipart/form-data; boundary=Xy")
    assert ask(Guard(kinds, 100), b"{}", kind=b"Application/JSON") == (200, b"application/json")


@pytest.mark.parametrize(
    ("headers", "status", "received"),
    [
        ([(b"content-type", b"application/json")], 413, 5),
        ([(b"content-type", b"application/json"), (b"content-length", b"300")], 413, 5),
        ([(b"content-type", b"application/json"), (b"content-length", b"300"), (b"expect", b"100-continue")], 413, 0),
        ([(b"content-type", b"image/jpeg")], 415, 5),
    ],
)
def test_what_it_refuses_is_received_first_or_the_client_would_not_see_the_answer(headers, status, received):
    left = [{"type": "http.request", "body": b"x" * 60, "more_body": i > 0} for i in range(5)]
    sent = []

    async def receive():
        return left.pop()

    async def send(message):
        sent.append((message.get("status"), 5 - len(left)))

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(Guard(echo, 100)(scope, receive, send))
    assert sent[0] == (status, received)


def test_it_does_not_wait_for_the_end_of_an_endless_body():
    async def receive():
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x" * 60, "more_body": True}

    sent = []

    async def send(message):
        sent.append(message.get("status"))

    kind = (b"content-type", b"application/json")
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [kind]}
    asyncio.run(Guard(echo, 100, timeout=0.05)(scope, receive, send))
    assert sent[0] == 413


@pytest.mark.parametrize(
    ("parts", "options", "status", "reason"),
    [
        ([b"x" * 60, b"x" * 60], {}, 413, "larger than 0.0001 MB"),
        ([b""], {"length": b"101"}, 413, "larger than"),
        ([b"{"], {}, 400, "not a JSON object"),
        ([b"[1]"], {}, 400, "not a JSON object"),
        ([b"[" * 90], {}, 400, "not a JSON object"),
        ([b"\xff"], {}, 400, "not a JSON object"),
        ([b"--x--"], {"kind": b"multipart/form-data"}, 400, "not a form"),
        ([b"--y: no form"], {"kind": b"multipart/form-data; boundary=x"}, 400, "not a form"),
        ([b"{}"], {"query": b"threshold=0.9"}, 400, "send fields in the body"),
        ([b"GIF89a"], {"kind": b"image/gif"}, 415, "send multipart/form-data or application/json"),
    ],
)
def test_what_it_refuses(parts, options, status, reason):
    found, body = ask(Guard(echo, 100), *parts, **options)
    assert found == status
    assert reason in json.loads(body)["error"]


def test_metrics_count_by_status():
    guard = Guard(echo, 100)
    for body in (b"{}", b"{}", b"no"):
        ask(guard, body)
    status, text = ask(guard, b"", method="GET", path="/metrics")
    assert status == 200
    assert 'cascade_rcnn_requests_total{status="200"} 2.0' in text.decode()
    assert 'cascade_rcnn_requests_total{status="400"} 1.0' in text.decode()
    assert "cascade_rcnn_request_seconds_count 3.0" in text.decode()


def test_a_failure_behind_it_is_counted():
    async def broken(scope, receive, send):
        raise RuntimeError("broken")

    guard = Guard(broken, 100)
    with pytest.raises(RuntimeError):
        ask(guard, b"{}")
    assert 'requests_total{status="500"} 1.0' in ask(guard, b"", method="GET", path="/metrics")[1].decode()


def test_an_answer_that_does_not_come():
    async def silent(scope, receive, send):
        await asyncio.sleep(60)

    assert ask(Guard(silent, 100, timeout=0.05), b"{}") == (504, b'{"error": "no answer within 0.05 s"}')


def test_metrics_need_the_key_that_the_service_needs(monkeypatch):
    monkeypatch.setenv("LIT_SERVER_API_KEY", "secret")
    guard = Guard(echo, 100)
    assert ask(guard, b"", method="GET", path="/metrics")[0] == 401
    for key, status in ((b"wrong", 401), (b"secret", 200)):
        assert ask(guard, b"", method="GET", path="/metrics", key=key)[0] == status
