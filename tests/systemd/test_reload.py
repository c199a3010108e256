"""`systemctl reload edged`: what changed is in force when it returns, and nothing else is touched."""

from tests.systemd.clients import SteadyLoad, Stream
from tests.systemd.conftest import Lap
from tests.systemd.service import Service


def test_a_model_that_is_added_serves_and_the_others_go_on(service: Service, lap: Lap) -> None:
    before = {name: service.runner(name) for name in service.models()}
    daemon = service.daemon
    stream = Stream(service, 150)
    stream.wait_begun()
    service.configure(lambda config: config["models"].update(second={"file": "minilm.gguf"}))
    with lap("systemctl reload that adds a model"):
        service.systemctl("reload", "edged")
    assert "second" in service.models()
    body = {"model": "second", "input": "hello"}
    assert service.call("POST", "/v1/embeddings", body)[0] == 200
    stream.join()
    assert (stream.failure, stream.is_whole) == (None, True)
    assert service.daemon == daemon
    assert {name: service.runner(name) for name in before} == before


def test_a_changed_model_is_replaced_without_losing_a_request_of_the_other(
    service: Service, lap: Lap
) -> None:
    other = service.runner("minilm")
    service.machine.run("edged", "config", "set", "models.smollm2.n_ctx", "1024")
    with SteadyLoad(service, n_clients=2) as load:
        load.wait_more(20)
        with lap("systemctl reload that changes a model, under load on the other"):
            service.systemctl("reload", "edged")
        assert service.chat("hello")[0] == 200
        load.wait_more(20)
    assert load.failures == []
    assert service.models()["smollm2"]["n_ctx"] == 1024
    assert service.runner("minilm") == other


def test_a_model_that_is_removed_is_gone(service: Service) -> None:
    runner = service.runner("smollm2")
    service.configure(lambda config: config["models"].pop("smollm2"))
    service.systemctl("reload", "edged")
    assert service.chat("hello")[0] == 404
    assert not runner.is_running()
    assert service.embed("hello") == 200


def test_clients_pull_and_delete_where_neither_configuration_nor_models_can_be_written(
    service: Service, lap: Lap
) -> None:
    """The model is configured no more; its file is where `edged pull` has put it."""
    service.configure(lambda config: config["models"].pop("smollm2"))
    service.systemctl("reload", "edged")
    configuration = service.config_file.read_text()
    with lap("ollama's pull of a model whose file is there"):
        assert service.call("POST", "/api/pull", {"model": "smollm2", "stream": False})[0] == 200
    assert service.chat("hello")[0] == 200
    service.systemctl("restart", "edged")
    assert service.chat("hello")[0] == 200
    assert service.call("DELETE", "/api/delete", {"model": "smollm2"})[0] == 200
    assert service.chat("hello")[0] == 404
    assert service.config_file.read_text() == configuration


def test_access_changes_at_once(service: Service) -> None:
    service.configure(lambda config: config["access"].update(api_keys=["only-with-this-key"]))
    service.systemctl("reload", "edged")
    assert service.embed("hello") == 401
    service.configure(lambda config: config["access"].update(api_keys=[]))
    service.systemctl("reload", "edged")
    assert service.embed("hello") == 200


def test_keys_come_and_go_without_a_restart(service: Service, lap: Lap) -> None:
    """systemd copies the file of keys only when the service starts: root's reload hands it over."""
    file, daemon = service.machine.root / "etc/edged/api_keys", service.daemon
    run = service.machine.run
    try:
        key = run("edged", "key", "add", "tablet").stdout.strip()
        assert service.embed("not in force yet") == 200
        with lap("systemctl reload that brings a key"):
            service.systemctl("reload", "edged")
        assert service.embed("without a key") == 401
        assert service.embed("with it", key=key) == 200
        assert "smollm2" in run("edged", "ps").stdout  # root needs none
        run("edged", "key", "add", "admin", "--scope", "manage")
        run("edged", "key", "remove", "tablet")
        run("edged", "reload")
        assert service.embed("with what was taken back", key=key) == 401
        assert (file.stat().st_mode & 0o777, service.daemon) == (0o600, daemon)
        assert key not in file.read_text()
    finally:
        file.unlink(missing_ok=True)
        service.systemctl("restart", "edged")
    assert service.embed("without a key") == 200


def test_a_bad_file_changes_nothing_and_says_why(service: Service, lap: Lap) -> None:
    before = {name: service.runner(name) for name in service.models()}
    daemon, after = service.daemon, service.cursor()
    service.configure(lambda config: config["models"]["smollm2"].update(n_ctx="lots"))
    with lap("systemctl reload of a bad file"):
        assert service.systemctl("reload", "edged", check=False) != 0
    assert service.show("ActiveState") == "active"
    assert service.daemon == daemon
    assert {name: service.runner(name) for name in before} == before
    assert service.chat("hello")[0] == 200
    assert any("models.smollm2.n_ctx" in str(entry["MESSAGE"]) for entry in service.journal(after))
    assert "models.smollm2.n_ctx" in service.show("StatusText")


def test_a_good_file_after_a_bad_one_clears_the_complaint(service: Service) -> None:
    original = service.config_file.read_text()
    service.configure(lambda config: config["server"].update(max_requests="many"))
    assert service.systemctl("reload", "edged", check=False) != 0
    service.config_file.write_text(original)
    service.systemctl("reload", "edged")
    assert "max_requests" not in service.show("StatusText")
