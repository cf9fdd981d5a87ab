"""Verify that the images of UDFs work with Numaflow."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from . import options
from .core.engine import connect
from .core.inputs.selection import Selected
from .core.model.contract import ANSWER_SECONDS, GRACE_SECONDS, NUMAFLOW, READY_SECONDS
from .core.model.errors import ConfigError
from .core.model.loading import lazily
from .core.model.settings import Settings
from .core.output import report, written
from .core.output.interrupts import interruptible

with lazily():
    from .core.build import publish, signing
    from .core.inputs import pipelines
    from .core.verification import candidates as preparing
    from .core.verification import conditions as reading
    from .core.verification import pulling, signatures, sources, verdict
    from .core.verification import report as verdicts
    from .core.verification import run as verification

_INTERRUPTED = "verify was interrupted; its containers and volumes are removed"


@options.verb(
    settings=("root", "registry", "tag", "python-image"),
    udfs="named",
    instead="pipeline",
    help={
        "pipeline": "start the UDFs whose images this manifest names as it says (default: all)",
        "junit": "write the result to this file as JUnit XML",
        "jobs": "UDFs to verify in parallel (default: as many as there are cores, from 2 to 4)",
        "ready": "seconds until the UDF must be ready",
        "answer": "seconds that an answer may take",
        "grace": "seconds from SIGTERM until the UDF must have ended (a pod gives 30)",
        "numaflow": "version of Numaflow that the UDF must work with",
        "load": "send many messages instead of the cases, and measure throughput and latency",
        "messages": "how many messages --load sends (default: 10000)",
        "profile": "with --load: the handler's share of the time, and its slowest lines",
        "max-ready": "the longest start that passes, such as 500ms or 2s (default: no limit)",
        "platform": "run the images for this platform, such as linux/arm64, if the engine can",
        "build": "first build the images that are not made from the UDFs as they are",
        "pull": "pull the images from the registry first",
        "signature": "check with cosign that the images in the registry are signed",
        "key": "public key of who must have signed, a file or the URI of a KMS",
        "identity": "who must have signed without a key, as a regular expression",
        "issuer": "URL of who has checked that identity",
        "non-root": "connect as another user than root, as a Numaflow that does not run as root",
    },
)
def verify(
    c: Context,
    settings: Settings,
    selected: Selected,
    json: bool = False,
    junit: str = "",
    summary: str = "",
    jobs: int = 0,
    ready: int = READY_SECONDS,
    answer: int = ANSWER_SECONDS,
    grace: int = GRACE_SECONDS,
    numaflow: str = NUMAFLOW,
    build: bool = False,
    pull: bool = False,
    signature: bool = False,
    key: str = "",
    identity: str = "",
    issuer: str = "",
    non_root: bool = False,
    load: bool = False,
    messages: int = 0,
    profile: bool = False,
    max_ready: str = "",
    pipeline: str = "",
    platform: str = "",
) -> None:
    """Test images of UDFs the way Numaflow would use them, without a cluster."""
    written.check(junit=junit, summary=summary)
    conditions = reading.read(
        ready=ready,
        answer=answer,
        grace=grace,
        numaflow=numaflow,
        non_root=non_root,
        load=load,
        messages=messages,
        profile=profile,
        max_ready=max_ready,
        platform=platform,
    )
    if build and (pull or platform):
        what = f"--build makes images here, and --{'pull' if pull else 'platform'} takes others"
        raise ConfigError(what, next_step="give one of them")
    signer = signing.Signer(key=key, identity=identity, issuer=issuer)
    signing.check_signer(signer, wanted=signature)
    engine = connect(settings.builder)
    if platform:
        preparing.check_platform(engine, platform)
    uses = None
    if pipeline:
        uses = pipelines.read(Path(pipeline).absolute())
        selected = pipelines.named(selected, uses, pipeline)
    if build:
        with interruptible(_INTERRUPTED):
            selected = sources.built(engine, settings, selected, report.say)
    if pull:
        pulling.pull(engine, settings, selected, report.say, platform)
    found = preparing.candidates(engine, settings, selected, uses)
    found = sources.compared(engine, settings, selected.udfs, found)
    if signature:
        found = signatures.signed(publish.registry_of(engine, settings), found, signer)
    with interruptible(_INTERRUPTED):
        made = verification.verify(engine, found, conditions, jobs=jobs, say=report.say)
    report.show(report.as_json(verdicts.rows(made)) if json else verdicts.text(made))
    if junit:
        written.write(Path(junit), verdicts.junit(made))
    if summary:
        report.append(summary, "Verify", verdicts.markdown(made))
    if error := verdict.failure(made):
        raise error
