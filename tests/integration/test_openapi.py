"""The API's own description: well formed, complete, and true of the answers."""
import re

import pytest

from support import pictures, schema


@pytest.fixture(scope="module")
def document(shared):
    return shared.get("/openapi.json").expect(200).json


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete", "patch", "head", "options"):
                yield method, path, operation


def test_structure(document):
    assert document["openapi"].startswith("3.1.") and document["info"]["title"] and document["info"]["version"]
    identities = set()
    for method, path, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"] and operation["responses"], where
        identity = operation.get("operationId", where)
        assert identity not in identities, identity
        identities.add(identity)
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)", path)), where
        for parameter in operation.get("parameters", []):
            assert parameter["in"] in ("path", "query", "header") and "schema" in parameter, where
            assert parameter["in"] != "path" or parameter["required"], where
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status) and response["description"], where
            for kind, content in response.get("content", {}).items():
                assert "/" in kind and "schema" in content, where


def test_references_lead_somewhere(document):
    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                schema.resolve(document, node["$ref"])
            for member in node.values():
                walk(member)
        elif isinstance(node, list):
            for member in node:
                walk(member)

    walk(document)


def test_fixed_paths_are_there(document):
    paths = {(m, p) for m, p, _ in operations(document)}
    assert paths >= {
        ("get", "/"), ("get", "/health"), ("post", "/upload"), ("post", "/upload/batch"), ("get", "/predictions/{image_id}"),
        ("get", "/predictions/recent/{limit}"), ("get", "/comparisons/{image_id}"), ("get", "/stats/models"),
        ("get", "/stats/performance"), ("post", "/admin/clear-predictions"), ("get", "/openapi.json"), ("get", "/metrics"),
        ("get", "/livez"), ("get", "/readyz"), ("put", "/images/{image_id}/label"), ("get", "/images/{image_id}/content")}


def check_answer(document, method, path, operation, answer):
    """The answer's status, type and body are among those described."""
    responses = operation["responses"]
    described = responses.get(str(answer.status), responses.get("default"))
    assert described is not None, f"{method} {path} answers {answer.status}, which is not described: {answer.body[:200]}"
    contents = described.get("content")
    if not contents:
        return
    kind = answer.headers["Content-Type"].split(";")[0]
    content = contents.get(kind) or contents.get(kind.split("/")[0] + "/*")
    assert content is not None, f"{method} {path} answers {kind}, not {list(contents)}"
    if kind.endswith("json"):
        schema.check(answer.json, content["schema"], document, f"{method} {path} {answer.status}")


def test_every_route_answers_as_described(server):
    """Every operation once with what makes it succeed, and once with what makes it fail."""
    document = server.get("/openapi.json").expect(200).json
    image = server.upload(pictures.png(pictures.RED), wait=30, label="green").expect(200).json
    server.upload(pictures.png(pictures.BLUE), wait=30).expect(200)
    good = {"image_id": image["image_id"], "limit": "5", "name": "plain", "topic": "predictions-output-stream"}
    bad = {"image_id": "018f2b6e-aaaa-4222-8333-944444444444", "limit": "0", "name": "nobody", "topic": "no such topic!"}
    bodies = {
        ("post", "/upload"): lambda path: server.send_form(path, [("file", pictures.png(pictures.RED), "x.png")]),
        ("post", "/upload/batch"): lambda path: server.send_form(path, [("files", pictures.png(pictures.RED), "x.png"), ("files", b"-", "y")]),
        ("put", "/images/{image_id}/label"): lambda path: server.send_json("PUT", path, {"label": "red"}),
    }
    # Clearing and unloading last: the others need what they take away.
    order = sorted(operations(document), key=lambda each: ("unload" in each[1], "clear" in each[1], each[1]))
    for method, path, operation in order:
        for values in (good, bad):
            if values is bad and "{" not in path:
                continue
            target = re.sub(r"{(\w+)(\.\.\.)?}", lambda m: values[m.group(1)].replace(" ", "%20"), path)
            if path == "/live":
                continue  # a stream without end: test_live.py
            send = bodies.get((method, path), lambda p, m=method: server.request(m.upper(), p))
            answer = send(target)
            assert (answer.status < 400) == (values is good) or path == "/topics/{topic}/messages", f"{method} {target}: {answer.status} {answer.body[:200]}"
            check_answer(document, method, path, operation, answer)


def test_uploads_answer_as_described(shared, document):
    operation = document["paths"]["/upload"]["post"]
    for image, wait in [(pictures.png(pictures.RED), None), (pictures.png(pictures.RED), 30), (pictures.png(pictures.RED), 0.000001),
                        (b"text", None), (b"", None), (pictures.huge_png(), None), (pictures.golden("jpeg-420.jpg")[:400], 30)]:
        check_answer(document, "post", "/upload", operation, shared.upload(image, wait=wait))
