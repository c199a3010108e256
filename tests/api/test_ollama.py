"""ollama's own client against the real application, and what only shows below it."""

from collections.abc import Iterator

import ollama
import pytest

from tests.api.conftest import PATIENCE_S, Running, Serve


def client_of(running: Running) -> ollama.Client:
    """ollama's client; the caller closes it."""
    return ollama.Client(host=running.server.url, timeout=PATIENCE_S)


@pytest.fixture
def client(edged: Running) -> Iterator[ollama.Client]:
    with client_of(edged) as client:
        yield client


def test_models_are_listed_by_the_names_that_clients_write(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == ["chat:latest", "embed:latest"]


def test_a_model_whose_file_is_missing_is_not_listed(serve: Serve) -> None:
    running = serve({"embed": "fake:embed"}, problems={"gone": "gone.gguf: no such file"})
    assert [each["name"] for each in running.get("/api/tags").json()["models"]] == ["embed:latest"]


def test_loaded_models_are_told_with_the_time_of_their_unloading(serve: Serve) -> None:
    running = serve({"a": "fake:embed", "b": "fake:embed"}, preload=False)
    with client_of(running) as client:
        assert client.ps().models == []
        client.embed("a", "x", keep_alive="10m")
        client.embed("b:latest", "x", keep_alive=-1)
        a, b = client.ps().models
    assert (a.name, b.name) == ("a:latest", "b:latest")
    assert a.context_length == 64
    assert a.expires_at is not None
    assert b.expires_at is not None
    assert 0 < (b.expires_at - a.expires_at).days < 40_000


def test_show_tells_the_capabilities(client: ollama.Client) -> None:
    assert client.show("embed").capabilities == ["embedding"]
    assert client.show("chat:latest").capabilities == ["completion", "tools"]


def test_an_unknown_model_is_404_as_the_client_expects(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.show("nobody")
    assert caught.value.status_code == 404


def test_the_version_is_one_that_clients_accept(edged: Running) -> None:
    body = edged.get("/api/version").json()
    assert tuple(map(int, body["version"].split("."))) >= (0, 6, 4)  # what editors ask for at least


def test_embeddings_of_several_texts(client: ollama.Client) -> None:
    made = client.embed("embed", ["a", "bb"])
    assert [len(vector) for vector in made.embeddings] == [4, 4]
    assert made.prompt_eval_count == 3
    assert made.total_duration
    assert made.embeddings[1] == client.embed("embed", "bb").embeddings[0]
    assert client.embeddings("embed", "bb").embedding == made.embeddings[1]


def test_long_texts_are_cut_unless_that_is_refused(client: ollama.Client) -> None:
    assert client.embed("embed", "x" * 1000).prompt_eval_count == 64
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed("embed", "x" * 1000, truncate=False)
    assert caught.value.status_code == 400


@pytest.mark.parametrize("nothing", ["", []])
def test_nothing_to_embed_only_loads_the_model(serve: Serve, nothing: object) -> None:
    running = serve({"embed": "fake:embed"}, preload=False)
    assert running.post("/api/embed", {"model": "embed", "input": nothing}).json()["embeddings"] == []
    assert running.pool.status("embed").state == "ready"


def test_what_the_documentation_sends_with_curl_is_taken(edged: Running) -> None:
    """`curl -d` says that its body is a form."""
    body = b'{"model": "embed", "prompt": "a"}'
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert len(edged.post("/api/embeddings", body, headers).json()["embedding"]) == 4
