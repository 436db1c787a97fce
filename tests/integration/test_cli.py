"""The subcommands, as people and programs call them."""
import json
import os
import re
import signal
import subprocess

import pytest

from support import networks, pictures
from support.server import BINARY, Server, eventually, run

COMMANDS = ["serve", "demo", "predict", "stream", "models", "train", "evaluate", "topics", "config", "bench", "completion"]


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """A data set: folders named as classes, each with a few pictures of that colour."""
    folder = tmp_path_factory.mktemp("album")
    for name, color in (("red", pictures.RED), ("green", pictures.GREEN), ("blue", pictures.BLUE), ("none", pictures.BLACK)):
        (folder / name).mkdir()
        for i in range(5):
            (folder / name / f"{i}.png").write_bytes(pictures.png(color, 12 + i, 12))
    return folder


# --- Help


def test_help_lists_every_command():
    text = run("--help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S", text, re.MULTILINE), command
    assert run("--version").stdout.startswith("ocelli ")
    assert run(status=2).stderr
    assert "no command 'sreve'" in run("sreve", status=2).stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each(command):
    text = run(command, "--help").stdout
    assert text.startswith(f"Usage: ocelli {command}") and "--help" in text
    result = run(command, "--no-such-option", status=2)
    assert "no-such-option" in result.stderr and result.stdout == ""


# --- Settings


def test_config_order_of_precedence(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("# a comment\nport: 1111\nbatch_max: 3\nlog_level: debug\n")
    environment = {**os.environ, "OCELLI_BATCH_MAX": "4", "OCELLI_LOG_LEVEL": "error"}
    settings = {s["name"]: s for s in json.loads(
        run("config", "--json", "--config", file, "--log-level", "warning", env=environment).stdout)}
    assert [settings[n]["value"] for n in ("port", "batch_max", "log_level")] == [1111, 4, "warning"] or \
           [settings[n]["value"] for n in ("port", "batch_max", "log_level")] == ["1111", "4", "warning"]
    assert [settings[n]["origin"] for n in ("port", "batch_max", "log_level", "listen")] == ["file", "environment", "flag", "default"]


def test_config_hides_secrets(tmp_path):
    (tmp_path / "key").write_text("whispered\n")
    for environment in ({"OCELLI_API_KEY": "whispered"}, {"OCELLI_API_KEY_FILE": str(tmp_path / "key")}):
        for arguments in ([], ["--json"]):
            text = run("config", *arguments, env={**os.environ, **environment}).stdout
            assert "whispered" not in text and "****" in text


@pytest.mark.parametrize("arguments, words", [
    (["--port", "70000"], ["port", "65535"]), (["--port", "x"], ["port"]), (["--batch-max", "0"], ["batch"]),
    (["--roles", "api,dance"], ["dance"]), (["--listen", "0.0.0.0"], ["0.0.0.0"]), (["--config", "/none"], ["/none"])])
def test_serve_refuses_bad_settings(tmp_path, models, arguments, words):
    base = ["serve", "--data-dir", tmp_path / "data", "--models-dir", models]
    result = subprocess.run([BINARY, *map(str, base), *(["--port", "0"] if "--port" not in arguments else []), *arguments],
                            capture_output=True, text=True, timeout=30)
    assert result.returncode in (1, 2) and "ready" not in result.stdout
    for word in words:
        assert word in result.stderr


def test_serve_ends_on_interrupt(models, tmp_path):
    server = Server(tmp_path / "data", models).start()
    server.stop(signal.SIGINT)


def test_serve_says_where_and_how_long_it_took(models, tmp_path):
    with Server(tmp_path / "data", models) as server:
        assert re.search(rf"^ocelli is ready at http://127.0.0.1:{server.port} \(\d+ ms\)$", "".join(server.output), re.MULTILINE)


# --- Models


def test_models_list_show_plan(models):
    listed = json.loads(run("models", "list", "--json", "--models-dir", models).stdout)
    listed = listed["models"] if isinstance(listed, dict) else listed
    assert {m["name"] for m in listed} == {"plain", "bold", "timid"}
    text = run("models", "list", "--models-dir", models).stdout
    assert "plain" in text and "timid" in text
    shown = run("models", "show", "plain", "--models-dir", models)
    assert "plain" in shown.stdout
    assert json.loads(run("models", "show", "plain", "--json", "--models-dir", models).stdout)
    assert run("models", "plan", "plain", "--models-dir", models).stdout
    assert "nobody" in run("models", "show", "nobody", "--models-dir", models, status=1).stderr


@pytest.mark.parametrize("architecture", ["mobilenetv2", "efficientnet_b0", "resnet50"])
def test_models_new_is_served(architecture, tmp_path):
    run("models", "new", architecture, "--classes", "10", "--input", "32", "--seed", "1", "--out", tmp_path / "models" / architecture)
    assert run("models", "new", architecture, "--classes", "10", "--input", "32", "--out", tmp_path / "models" / architecture, status=1).stderr
    with Server(tmp_path / "data", tmp_path / "models") as server:
        image = server.upload(pictures.golden("photo.jpg"), "photo.jpg", wait=50).expect(200).json
        assert image["status"] == "completed" and image["count"] == 1
        assert image["predictions"][0]["model_name"] == architecture and len(image["predictions"][0]["top_k"]) == 5


def test_models_add_and_remove_while_serving(own_models, tmp_path):
    wrong, network, labels = tmp_path / "wrong.onnx", tmp_path / "network.onnx", tmp_path / "labels.txt"
    wrong.write_bytes(networks.colour_network(*networks.KNOWN["plain"], side=8))
    network.write_bytes(networks.colour_network(*networks.KNOWN["plain"], side=224))
    labels.write_text("red\ngreen\nblue\nnone\n")
    add = ["models", "add", "--preprocess", "raw01", "--models-dir", own_models]
    with Server(tmp_path / "data", own_models) as server:
        assert "224" in run(*add, wrong, "--name", "added", "--labels", labels, status=2).stderr
        run(*add, network, "--name", "added", "--labels", "red,green", status=2)
        run(*add, network, "--name", "Bad Name", "--labels", labels, status=2)
        assert not (own_models / "added").exists()
        run(*add, network, "--name", "added", "--labels", labels)
        assert "added" in run(*add, network, "--name", "added", "--labels", labels, status=1).stderr
        eventually(lambda: "added" in server.active_models())
        assert server.upload(pictures.png(pictures.RED), wait=30).expect(200).json["count"] == 4
        run("models", "remove", "added", "--models-dir", own_models)
        eventually(lambda: "added" not in str(server.get("/models").json))
        assert server.upload(pictures.png(pictures.RED), wait=30).expect(200).json["count"] == 3
        run("models", "remove", "added", "--models-dir", own_models, status=1)


# --- Predict and evaluate


def test_predict(models, tmp_path):
    good, bad = tmp_path / "blue.png", tmp_path / "bad.png"
    good.write_bytes(pictures.png(pictures.BLUE))
    bad.write_bytes(b"hello")
    lines = [json.loads(line) for line in run("predict", "--json", "--models-dir", models, good).stdout.splitlines()]
    answers = {p["model_name"]: p for p in lines[0]["predictions"]}
    assert {name: p["prediction_class"] for name, p in answers.items()} == {name: networks.says(name, pictures.BLUE) for name in networks.KNOWN}
    text = run("predict", "--models-dir", models, "--model", "plain", good).stdout
    assert "blue" in text and "plain" in text and "timid" not in text
    result = run("predict", "--models-dir", models, bad, good, status=1)
    assert "bad.png" in result.stderr + result.stdout and "blue" in result.stdout
    assert run("predict", "--models-dir", models, tmp_path / "none.png", status=1).stderr
    assert run("predict", "--models-dir", models, status=2).stderr
    assert run("predict", "--models-dir", tmp_path / "nowhere", good, status=1).stderr


def test_evaluate(models, album):
    report = json.loads(run("evaluate", "--data", album, "--models-dir", models, "--json").stdout)
    found = {m["model"] if "model" in m else m["name"]: m for m in report["models"]}
    colors = {"red": pictures.RED, "green": pictures.GREEN, "blue": pictures.BLUE, "none": pictures.BLACK}
    for name in networks.KNOWN:
        right = sum(networks.says(name, color) == label for label, color in colors.items()) / 4
        match = next(m for key, m in found.items() if key.split("@")[0] == name)
        assert match["accuracy"] == pytest.approx(right)
    text = run("evaluate", "--data", album, "--models-dir", models).stdout
    assert "plain" in text and "green" in text
    run("evaluate", "--data", album / "nowhere", "--models-dir", models, status=1)


# --- Against a running server


def test_stream(server, album):
    summary = json.loads(run("stream", album, "--labelled", "--wait", "--json", "--url", server.url).stdout)
    assert summary
    stats = server.get("/stats/models").json["models"]
    assert all(m["total_predictions"] == 20 and m["labelled"] == 20 for m in stats)
    plain = next(m for m in stats if m["model_name"] == "plain")
    assert plain["accuracy"] == 1.0
    run("stream", album, "--limit", "7", "--rate", "1000", "--wait", "--url", server.url)
    assert all(m["total_predictions"] == 27 for m in server.get("/stats/models").json["models"])
    run("stream", album / "nowhere", "--url", server.url, status=1)
    run("stream", album, "--url", "http://127.0.0.1:1", status=1)


def test_topics(server, album):
    run("stream", album, "--limit", "3", "--wait", "--url", server.url)
    listed = json.loads(run("topics", "list", "--json", "--url", server.url).stdout)
    assert "images-input-stream" in json.dumps(listed)
    assert "images-input-stream" in run("topics", "list", "--url", server.url).stdout
    lag = run("topics", "lag", "--url", server.url).stdout
    assert "classify-plain@1" in lag and "record" in lag
    lines = run("topics", "tail", "predictions-output-stream", "--no-follow", "-n", "5", "--json", "--url", server.url).stdout.splitlines()
    assert len(lines) == 5 and all("prediction_class" in line and json.loads(line) for line in lines)
    assert run("topics", "list", "--url", "http://127.0.0.1:1", status=1).stderr


# --- Demo


def test_demo_leaves_with_the_comparison(models, album):
    result = json.loads(run("demo", album, "--json", "--models-dir", models, "--port", "0").stdout)
    assert {m["model_name"] for m in result["models"]} >= {"plain", "bold", "timid"}
    text = run("demo", album, "--exit", "--models-dir", models, "--port", "0").stdout
    for name in networks.KNOWN:
        assert name in text
    assert "100" in text  # plain is right on all twenty


def test_completion_and_manual():
    for shell in ("bash", "zsh", "fish"):
        assert "models" in run("completion", shell).stdout
    assert ".TH" in run("completion", "man").stdout
