"""GET /edged/v1/models, POST /edged/v1/models/{id}/load, /warmup, /cool and /unload."""

import msgspec
from flask import Blueprint, Response, request

from edged.api.body import Fields
from edged.api.work import Api
from edged.errors import InvalidRequest
from edged.lifecycle.holding import holdings


def routes(api: Api) -> Blueprint:
    """The endpoints."""
    blueprint = Blueprint("native_models", __name__, url_prefix="/edged/v1/models")

    def answer(model: str, more: Fields, status: int) -> Response:
        body = msgspec.to_builtins(api.pool.status(model)) | more
        return Response(msgspec.json.encode(body), status, mimetype="application/json")

    @blueprint.get("")
    def models() -> Response:
        """With `?memory=true` also what each of them holds, which takes some milliseconds to find out.

        `account` is what admission counts with, by plans and by what loads have measured.
        """
        statuses = api.pool.statuses()
        body: Fields = {"models": statuses}
        if _flag("memory"):
            held, account = holdings(api.pool.plans, statuses), api.pool.admission.look()
            listed = [msgspec.to_builtins(each) | {"memory": held.get(each.model)} for each in statuses]
            kinds = {f"{kind}_bytes": n_bytes for kind, n_bytes in account.by_kind().items()}
            body = {"models": listed, "account": {"budget_bytes": account.budget_bytes, **kinds}}
        return Response(msgspec.json.encode(body), mimetype="application/json")

    @blueprint.get("/<model>")
    def model(model: str) -> Response:
        return answer(model, {}, 200)

    @blueprint.post("/<model>/load")
    @api.working
    def load(model: str) -> Response:
        """Begins; follow it at GET, or let a request wait for it."""
        api.pool.load(model)
        return answer(model, {}, 202)

    @blueprint.post("/<model>/warmup")
    @api.working
    def warmup(model: str) -> Response:
        warmup_s = api.pool.warmup(model, api.config.server.request_timeout)
        return answer(model, {"warmup_s": warmup_s}, 200)

    @blueprint.post("/<model>/cool")
    @api.working
    def cool(model: str) -> Response:
        """Give back pages until the next request; with `?shrink=true` the context as well."""
        freed_bytes = api.pool.cool(model, shrink=_flag("shrink"))
        return answer(model, {"freed_bytes": freed_bytes}, 200)

    @blueprint.post("/<model>/unload")
    @api.working
    def unload(model: str) -> Response:
        api.pool.unload(model)
        return answer(model, {}, 200)

    return blueprint


def _flag(name: str) -> bool:
    """A parameter of the URL. Raises InvalidRequest."""
    wanted = request.args.get(name, "false")
    if wanted not in ("true", "false"):
        raise InvalidRequest(f"{name}: is neither true nor false", name)
    return wanted == "true"
