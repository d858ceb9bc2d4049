"""What a design deploys, in words: its pools of engines, and the services that stand beside them."""

from mist_dse.report.text import number_text, value_text
from mist_dse.specs.design import Design
from mist_dse.specs.service import Service


def models_text(design: Design) -> str:
    """The models of the engines, each once."""
    return ", ".join(dict.fromkeys(pool.model.name for pool in design.pools))


def services_text(design: Design) -> str:
    """All services, empty where there are none: ``"index: ivf_pq of 21,000,000 vectors on xeon_8480_plus"``."""
    return " + ".join(f"{service.name}: {service_text(service)}" for service in design.services)


def service_text(service: Service) -> str:
    """What a service is and stands on, without its name."""
    if service.kind == "tiers":
        return ", ".join(f"{tier.name} {value_text(tier.capacity, 'B')} {tier.scope}" for tier in service.tiers)
    if service.kind == "outside":
        return "outside"
    number = service.replicas * (service.hosts if service.accelerator is None else 1)
    times = f"{number} x " if number > 1 else ""
    place = f"{times}{(service.accelerator or service.host).name}" + (f" of {service.beside}" if service.beside else "")  # type: ignore[union-attr]
    return f"{_content(service)}{place}"


def _content(service: Service) -> str:
    """What runs there: a model, an index, or plain work of the cores."""
    if service.model is not None:
        return f"{service.model.name} on "
    return f"{service.index.kind} of {number_text(service.index.vectors)} vectors on " if service.index is not None else ""
