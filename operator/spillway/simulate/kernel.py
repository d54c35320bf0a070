"""The discrete-event kernel: arrivals, gateways, and replicas that batch as vLLM's V1 engine does.

A step gives every decoding request one token and fills the rest of its token budget with prompts, first come first served (chunked
prefill). With B sequences, KV tokens in the cache of decoding ones, P prompt tokens and, of each prompt read from token s to e, e^2 - s^2,
it takes

    T = fixed[B] + kv * KV/1000 + prompt * P + square * sum(e^2 - s^2)/10^6   milliseconds (replica/roofline.py has the source)

A waiting request enters while the batch has a place and the cache has room for its whole prompt (vLLM's scheduler_reserve_full_isl, its
default). When the cache is full the youngest is preempted: it waits at the head of the queue and is computed anew. The cache is counted in
tokens, not in blocks of sixteen.

Steps without prompts differ only by the growth of the cache, so a run of n of them takes n*first + growth*n(n-1)/2 and is one event; an
arrival cuts it at the end of the step it falls into.

All compiled functions are in this module: numba's cache looks at the age of one file only, and would keep calling an older other one.
"""

import math

from spillway.simulate.compiling import compiled
from spillway.simulate.layout import (
    BUCKET_GROWTH,
    BUCKETS,
    DRAINING,
    ENDED,
    FAILED,
    HELD,
    HOSTED,
    INTER_TOKEN,
    NEVER,
    NOBODY,
    OWNED,
    PAUSING,
    READY,
    STARTING,
    TTFT,
    Records,
    World,
)

SECONDS_PER_DAY = 86400.0


# A replica


@compiled
def run_ms(first_ms: float, growth_ms: float, steps: int) -> float:
    """Return how long so many steps take."""
    return first_ms * steps + growth_ms * steps * (steps - 1) / 2.0


@compiled
def steps_until(first_ms: float, growth_ms: float, elapsed_ms: float) -> int:
    """Return the least number of steps, at least 1, that take so long."""
    if growth_ms > 0.0:
        half = first_ms / growth_ms - 0.5
        steps = max(1, math.ceil(math.sqrt(half * half + 2.0 * elapsed_ms / growth_ms) - half))
    else:
        steps = max(1, math.ceil(elapsed_ms / first_ms))
    while steps > 1 and run_ms(first_ms, growth_ms, steps - 1) >= elapsed_ms:
        steps -= 1
    while run_ms(first_ms, growth_ms, steps) < elapsed_ms:
        steps += 1
    return steps


@compiled
def observe_latency(world: World, row: int, milliseconds: float) -> None:
    """Count a latency in its bucket."""
    bucket = 0 if milliseconds < 1.0 else min(BUCKETS - 1, int(math.log(milliseconds) / math.log(BUCKET_GROWTH)) + 1)
    world.latency[row, bucket] += 1.0


@compiled
def account(world: World, one: Records, steps: int) -> None:
    """Count steps that were made."""
    totals, decoding = world.totals[0], int(one["decoding"])
    totals["steps"] += steps
    totals["decoded"] += float(steps * decoding)
    totals["prompted"] += float(one["prompt"])
    totals["kv_steps"] += float(steps) * float(one["kv"]) + decoding * steps * (steps - 1) / 2.0
    took_s = run_ms(float(one["first_ms"]), float(one["growth_ms"]), steps) / 1000.0
    totals["busy_s"] += took_s
    totals["decoding_s"] += decoding * took_s
    one["clock"] += steps
    one["kv"] += steps * decoding + int(one["prompt"])
    one["kv_decoding"] += steps * decoding


@compiled
def preempt_youngest(world: World, replica: int) -> None:
    """Take the last of the batch out, back to the head of the queue."""
    one = world.replicas[replica]
    place = int(one["running"]) - 1
    number = world.batch[replica, place]
    request = world.requests[number]
    if one["running"] > one["decoding"]:
        one["kv"] -= int(request["input"]) + int(request["made"]) - int(request["left"])
        one["reserved"] -= int(request["left"])
    else:
        request["made"] = int(request["output"]) - (world.leaves[replica, place] - int(one["clock"]))
        cached = int(request["input"]) + int(request["made"]) - 1
        one["kv"] -= cached
        one["kv_decoding"] -= cached
        one["decoding"] -= 1
    request["left"] = int(request["input"]) + int(request["made"])
    request["next"] = one["head"]
    one["head"] = number
    if one["tail"] == NOBODY:
        one["tail"] = number
    one["running"] -= 1
    one["waiting"] += 1
    one["soonest"] = NEVER
    for other in range(int(one["running"])):
        one["soonest"] = min(int(one["soonest"]), int(world.leaves[replica, other]))
    world.site[0]["running"] -= 1
    world.site[0]["waiting"] += 1
    world.totals[0]["preempted"] += 1.0


@compiled
def read_chunk(world: World, number: int, budget: int) -> tuple[int, float]:
    """Return how many tokens of a prompt the next step reads, and their squares."""
    request = world.requests[number]
    taken = min(int(request["left"]), budget)
    begin = float(int(request["input"]) + int(request["made"]) - int(request["left"]))
    return taken, (begin + taken) * (begin + taken) - begin * begin


@compiled
def admit_waiting(world: World, replica: int) -> int:
    """Put the head of the queue into the batch and return it; NOBODY where it has no place or no room."""
    one, site = world.replicas[replica], world.site[0]
    if one["waiting"] == 0 or one["running"] >= site["max_num_seqs"]:
        return NOBODY
    number = int(one["head"])
    request = world.requests[number]
    if int(one["kv"]) + int(one["reserved"]) + int(one["decoding"]) + int(request["left"]) > site["kv_limit"]:
        return NOBODY
    one["head"] = request["next"]
    if one["head"] == NOBODY:
        one["tail"] = NOBODY
    place = int(one["running"])
    world.batch[replica, place] = number
    world.leaves[replica, place] = NEVER
    one["reserved"] += int(request["left"])
    one["running"] += 1
    one["waiting"] -= 1
    site["running"] += 1
    site["waiting"] -= 1
    return number


@compiled
def plan_steps(world: World, replica: int, now_s: float) -> None:
    """Schedule the next step, and with it all that are like it."""
    one, site = world.replicas[replica], world.site[0]
    preempted = False
    while one["running"] > 1 and int(one["kv"]) + int(one["reserved"]) + int(one["decoding"]) > site["kv_limit"]:
        preempt_youngest(world, replica)
        preempted = True
    decoding = int(one["decoding"])
    budget = int(site["step_tokens"]) - decoding
    prompt, squares, sequences = 0, 0.0, decoding
    for place in range(decoding, int(one["running"])):
        taken, more = read_chunk(world, world.batch[replica, place], budget - prompt)
        prompt, squares, sequences = prompt + taken, squares + more, sequences + (1 if taken else 0)
    while prompt < budget and not preempted:
        number = admit_waiting(world, replica)
        if number == NOBODY:
            break
        taken, more = read_chunk(world, number, budget - prompt)
        prompt, squares, sequences = prompt + taken, squares + more, sequences + 1
    one["base_s"] = now_s
    one["prompt"] = prompt
    if one["running"] == 0:
        one["planned"] = 0
        world.due_s[replica] = math.inf
        return
    one["growth_ms"] = site["kv_ms"] * decoding / 1000.0
    one["first_ms"] = (
        world.fixed_ms[sequences]
        + site["kv_ms"] * float(one["kv_decoding"]) / 1000.0
        + site["prompt_ms"] * prompt
        + site["square_ms"] * squares / 1e6
    )
    steps = 1
    if prompt == 0 and not preempted:
        room = (int(site["kv_limit"]) - int(one["kv"]) - int(one["reserved"])) // decoding
        steps = max(1, min(int(one["soonest"]) - int(one["clock"]), room))
    one["planned"] = steps
    world.due_s[replica] = now_s + run_ms(one["first_ms"], one["growth_ms"], steps) / 1000.0


@compiled
def read_prompts(world: World, replica: int, now_s: float) -> None:
    """Give the prompts their share of the step that has ended; whoever has read all of it has its next token."""
    one = world.replicas[replica]
    rest = int(one["prompt"])
    for place in range(int(one["decoding"]), int(one["running"])):
        request = world.requests[world.batch[replica, place]]
        taken = min(int(request["left"]), rest)
        rest -= taken
        request["left"] -= taken
        one["reserved"] -= taken
        if request["left"] > 0:
            break
        request["made"] += 1
        if request["made"] == 1:
            request["ttft_ms"] = (now_s - request["arrival_s"]) * 1000.0
            observe_latency(world, TTFT, float(request["ttft_ms"]))
        leaves = int(one["clock"]) + int(request["output"]) - int(request["made"])
        world.leaves[replica, place] = leaves
        one["soonest"] = min(int(one["soonest"]), leaves)
        one["decoding"] += 1
        one["kv_decoding"] += int(request["input"]) + int(request["made"]) - 1


@compiled
def answer(world: World, replica: int, number: int, now_s: float) -> None:
    """Write down that a request was answered by a replica, and free its place at the gateway."""
    request, totals = world.requests[number], world.totals[0]
    request["side"] = OWNED
    request["made"] = request["output"]
    request["e2e_ms"] = (now_s - request["arrival_s"]) * 1000.0
    if request["output"] > 1:
        observe_latency(world, INTER_TOKEN, float(request["e2e_ms"] - request["ttft_ms"]) / float(int(request["output"]) - 1))
    totals["finished"] += 1.0
    totals["residence_s"] += now_s - request["arrival_s"]
    totals["own_input"] += float(request["input"])
    totals["own_output"] += float(request["output"])
    let_go(world, replica, number)


@compiled
def let_go(world: World, replica: int, number: int) -> None:
    """Free a request's place at the gateway."""
    gateway = int(world.requests[number]["gateway"])
    world.gates[gateway]["open"] -= 1
    world.open_at[gateway, replica] -= 1


@compiled
def let_answered_leave(world: World, replica: int, now_s: float) -> None:
    """Take what is answered out of the batch; the others keep their order."""
    one = world.replicas[replica]
    clock, decoding, kept, soonest = int(one["clock"]), int(one["decoding"]), 0, NEVER
    for place in range(int(one["running"])):
        number, leaves = int(world.batch[replica, place]), int(world.leaves[replica, place])
        if place < decoding and leaves <= clock:
            request = world.requests[number]
            cached = int(request["input"]) + int(request["output"]) - 1
            one["kv"] -= cached
            one["kv_decoding"] -= cached
            one["decoding"] -= 1
            world.site[0]["running"] -= 1
            answer(world, replica, number, now_s)
            continue
        world.batch[replica, kept] = number
        world.leaves[replica, kept] = leaves
        soonest = min(soonest, leaves)
        kept += 1
    one["running"] = kept
    one["soonest"] = soonest


@compiled
def end_steps(world: World, replica: int, now_s: float) -> None:
    """End the planned steps, answer who is done, and plan the next ones."""
    one = world.replicas[replica]
    account(world, one, int(one["planned"]))
    one["planned"] = -1
    if one["prompt"] > 0:
        read_prompts(world, replica, now_s)
    if one["soonest"] <= one["clock"]:
        let_answered_leave(world, replica, now_s)
        release(world, now_s)
    plan_steps(world, replica, now_s)
    if one["state"] == DRAINING and one["planned"] == 0:
        end_replica(world, replica, now_s)


@compiled
def show_steps(world: World, replica: int, now_s: float) -> None:
    """Count the whole steps of a run that are over by now, so that what is looked at now is true."""
    one = world.replicas[replica]
    if one["planned"] <= 1 or one["prompt"] > 0:
        return
    elapsed_ms = (now_s - one["base_s"]) * 1000.0
    steps = steps_until(one["first_ms"], one["growth_ms"], elapsed_ms)
    if run_ms(one["first_ms"], one["growth_ms"], steps) > elapsed_ms:
        steps -= 1
    steps = min(steps, int(one["planned"]) - 1)
    if steps > 0:
        account(world, one, steps)
        one["base_s"] += run_ms(one["first_ms"], one["growth_ms"], steps) / 1000.0
        one["first_ms"] += one["growth_ms"] * steps
        one["planned"] -= steps


# A gateway


@compiled
def enqueue(world: World, replica: int, number: int, now_s: float) -> None:
    """Give a request to a replica."""
    one, request, site = world.replicas[replica], world.requests[number], world.site[0]
    request["next"] = NOBODY
    if one["tail"] == NOBODY:
        one["head"] = number
    else:
        world.requests[int(one["tail"])]["next"] = number
    one["tail"] = number
    one["waiting"] += 1
    site["waiting"] += 1
    gateway = int(request["gateway"])
    world.gates[gateway]["open"] += 1
    world.open_at[gateway, replica] += 1
    if one["planned"] == 0:
        plan_steps(world, replica, now_s)
    elif one["planned"] > 1 and one["waiting"] == 1 and one["running"] < site["max_num_seqs"]:
        steps = steps_until(one["first_ms"], one["growth_ms"], (now_s - one["base_s"]) * 1000.0)
        if steps < one["planned"]:
            one["planned"] = steps
            world.due_s[replica] = one["base_s"] + run_ms(one["first_ms"], one["growth_ms"], steps) / 1000.0


@compiled
def least_loaded(world: World, number: int) -> int:
    """Return the ready replica that holds the fewest requests of this gateway; ties by the request's own chance."""
    gateway = int(world.requests[number]["gateway"])
    least, ties = NEVER, 0
    for replica in range(len(world.due_s)):
        if world.replicas[replica]["state"] == READY:
            held = int(world.open_at[gateway, replica])
            if held < least:
                least, ties = held, 1
            elif held == least:
                ties += 1
    chosen = int(world.requests[number]["chance"]) % ties
    for replica in range(len(world.due_s)):
        if world.replicas[replica]["state"] == READY and world.open_at[gateway, replica] == least:
            if chosen == 0:
                return replica
            chosen -= 1
    return NOBODY


@compiled
def fail(world: World, number: int, now_s: float) -> None:
    """Write down that nobody answered, or not to the end."""
    request = world.requests[number]
    request["side"] = FAILED
    request["e2e_ms"] = (now_s - request["arrival_s"]) * 1000.0
    world.totals[0]["refused"] += 1.0


@compiled
def rent(world: World, number: int, now_s: float) -> bool:
    """Send a request to hosted, where it is answered or fails; False where the day's budget is spent, or it would fail and may be held."""
    request, site, totals = world.requests[number], world.site[0], world.totals[0]
    day = int(now_s // SECONDS_PER_DAY)
    if day != site["day"]:
        site["day"], site["day_usd"] = day, 0.0
    if request["hosted_answers"] == 0:
        if site["most_held"] > 0:
            return False
        fail(world, number, now_s)
        return True
    if site["day_usd"] + request["usd"] > site["most_usd_per_day"]:
        return False
    site["day_usd"] += request["usd"]
    request["side"] = HOSTED
    request["ttft_ms"] = (now_s - request["arrival_s"]) * 1000.0
    totals["spilled"] += 1.0
    totals["hosted_input"] += float(request["input"])
    totals["hosted_output"] += float(request["output"])
    return True


@compiled
def turn_away(world: World, number: int, now_s: float) -> None:
    """Send to hosted what own replicas do not take; where that may not be, hold it, or fail it where too many are held."""
    site, request = world.site[0], world.requests[number]
    if site["spills"] == 1 and rent(world, number, now_s):
        return
    if world.lines[HELD, int(request["gateway"])]["count"] >= site["most_held"]:
        fail(world, number, now_s)
    else:
        queue_up(world, HELD, number)


@compiled
def diverts(world: World, number: int, now_s: float) -> bool:
    """Send a prompt that no replica reads in time to hosted; False where it is not as long, or hosted does not take it."""
    request, site, totals = world.requests[number], world.site[0], world.totals[0]
    if request["input"] <= site["longest_prompt"] or site["spills"] == 0 or request["hosted_answers"] == 0:
        return False
    if not rent(world, number, now_s):
        return False
    totals["long"] += 1.0
    totals["long_input"] += float(request["input"])
    totals["long_output"] += float(request["output"])
    return True


@compiled
def queue_up(world: World, line: int, number: int) -> None:
    """Put a request at the end of a line of its gateway's."""
    request, site = world.requests[number], world.site[0]
    one = world.lines[line, int(request["gateway"])]
    request["next"] = NOBODY
    if one["tail"] == NOBODY:
        one["head"] = number
    else:
        world.requests[int(one["tail"])]["next"] = number
    one["tail"] = number
    one["count"] += 1
    if line == HELD:
        site["held"] += 1
    else:
        site["pausing"] += 1


@compiled
def route(world: World, number: int, now_s: float) -> None:
    """Send a request to a replica under the cap, or away, after a moment where the cap was all that was in its way.

    What a replica refuses is tried at hosted once and never comes back.
    """
    site, request = world.site[0], world.requests[number]
    gateway = int(request["gateway"])
    if site["ready"] == 0:
        turn_away(world, number, now_s)
        return
    if world.gates[gateway]["open"] >= site["cap"]:
        if world.lines[PAUSING, gateway]["count"] < site["most_pausing"]:
            queue_up(world, PAUSING, number)
        else:
            turn_away(world, number, now_s)
        return
    replica = least_loaded(world, number)
    one = world.replicas[replica]
    full = int(one["running"]) + int(one["waiting"]) >= site["max_queued"]
    if not full and int(request["input"]) + int(request["output"]) <= site["kv_limit"]:
        enqueue(world, replica, number, now_s)
    elif site["spills"] == 0 or not rent(world, number, now_s):
        fail(world, number, now_s)


@compiled
def pop_first(world: World, line: int, gateway: int) -> int:
    """Return the request that has been longest in a line."""
    one, site = world.lines[line, gateway], world.site[0]
    number = int(one["head"])
    one["head"] = world.requests[number]["next"]
    if one["head"] == NOBODY:
        one["tail"] = NOBODY
    one["count"] -= 1
    if line == HELD:
        site["held"] -= 1
    else:
        site["pausing"] -= 1
    return number


@compiled
def release(world: World, now_s: float) -> None:
    """Send what waits to replicas, as far as the cap allows. Without one, what waits for a moment waits no longer."""
    site = world.site[0]
    if site["held"] + site["pausing"] == 0:
        return
    for gateway in range(len(world.gates)):
        gate = world.gates[gateway]
        for line in (PAUSING, HELD):
            while world.lines[line, gateway]["count"] > 0 and site["ready"] > 0 and gate["open"] < site["cap"]:
                route(world, pop_first(world, line, gateway), now_s)
        while world.lines[PAUSING, gateway]["count"] > 0 and site["ready"] == 0:
            turn_away(world, pop_first(world, PAUSING, gateway), now_s)


@compiled
def next_expiry_s(world: World) -> float:
    """Return when the first has waited too long; now, where that is over."""
    site, soonest = world.site[0], math.inf
    if site["held"] + site["pausing"] == 0:
        return soonest
    for gateway in range(len(world.gates)):
        if world.lines[PAUSING, gateway]["count"] > 0:
            number = int(world.lines[PAUSING, gateway]["head"])
            soonest = min(soonest, world.requests[number]["arrival_s"] + site["pause_s"])
        if world.lines[HELD, gateway]["count"] > 0:
            number = int(world.lines[HELD, gateway]["head"])
            soonest = min(soonest, world.requests[number]["arrival_s"] + site["hold_s"])
    return max(soonest, float(site["now_s"]))


@compiled
def has_waited(world: World, line: int, gateway: int, longest_s: float, now_s: float) -> bool:
    """Whether the first of a line came that long ago."""
    one = world.lines[line, gateway]
    if one["count"] == 0:
        return False
    arrival_s = float(world.requests[int(one["head"])]["arrival_s"])
    return arrival_s + longest_s <= now_s


@compiled
def expire(world: World, now_s: float) -> None:
    """Send elsewhere what has waited its moment, and fail what has been held too long."""
    site = world.site[0]
    for gateway in range(len(world.gates)):
        while has_waited(world, PAUSING, gateway, site["pause_s"], now_s):
            turn_away(world, pop_first(world, PAUSING, gateway), now_s)
        while has_waited(world, HELD, gateway, site["hold_s"], now_s):
            fail(world, pop_first(world, HELD, gateway), now_s)


# Replicas that come and go


@compiled
def set_cap(world: World, now_s: float) -> None:
    """Share the cap of the replicas that are ready among the gateways, rounded up."""
    site = world.site[0]
    gateways = len(world.gates)
    site["cap"] = (int(site["ready"]) * int(site["slots"]) + gateways - 1) // gateways
    release(world, now_s)


@compiled
def launch(world: World, replica: int, index: int, now_s: float, ready_s: float) -> None:
    """Begin to start a replica in an empty place."""
    one = world.replicas[replica]
    one["state"], one["index"], one["launched_s"], one["ready_s"], one["ended_s"] = STARTING, index, now_s, ready_s, math.inf
    one["planned"] = one["clock"] = one["kv"] = one["kv_decoding"] = one["reserved"] = 0
    one["prompt"] = one["running"] = one["decoding"] = one["waiting"] = 0
    one["head"] = one["tail"] = NOBODY
    one["soonest"] = NEVER
    world.due_s[replica] = ready_s


@compiled
def become_ready(world: World, replica: int, now_s: float) -> None:
    """Open a started replica to requests."""
    world.replicas[replica]["state"] = READY
    world.due_s[replica] = math.inf
    world.site[0]["ready"] += 1
    world.site[0]["serving"] += 1
    set_cap(world, now_s)


@compiled
def end_replica(world: World, replica: int, now_s: float) -> None:
    """Stop the bill of a replica."""
    one = world.replicas[replica]
    if one["state"] == DRAINING:
        world.site[0]["serving"] -= 1
    one["state"] = ENDED
    one["ended_s"] = now_s
    world.due_s[replica] = math.inf


@compiled
def drain(world: World, replica: int, now_s: float) -> None:
    """Send a replica no more requests; it ends once it has answered what it has, a starting one at once."""
    one = world.replicas[replica]
    if one["state"] == STARTING:
        end_replica(world, replica, now_s)
        return
    one["state"] = DRAINING
    world.site[0]["ready"] -= 1
    set_cap(world, now_s)
    if one["running"] + one["waiting"] == 0:
        end_replica(world, replica, now_s)


@compiled
def lose(world: World, replica: int, number: int, now_s: float) -> None:
    """Send elsewhere what a crashed replica held. It has failed where its client has had a token already, or where there is nobody else."""
    let_go(world, replica, number)
    if world.requests[number]["made"] > 0 or world.site[0]["spills"] == 0:
        fail(world, number, now_s)
        return
    world.requests[number]["left"] = world.requests[number]["input"]
    turn_away(world, number, now_s)


@compiled
def crash(world: World, replica: int, now_s: float, ready_s: float) -> None:
    """Lose a ready replica with all it holds; it starts anew in its place."""
    one, site = world.replicas[replica], world.site[0]
    running, number, index, launched_s = int(one["running"]), int(one["head"]), int(one["index"]), float(one["launched_s"])
    site["running"] -= running
    site["waiting"] -= int(one["waiting"])
    site["ready"] -= 1
    site["serving"] -= 1
    launch(world, replica, index, now_s, ready_s)
    one["launched_s"] = launched_s
    set_cap(world, now_s)
    for place in range(running):
        lose(world, replica, int(world.batch[replica, place]), now_s)
    while number != NOBODY:
        behind = int(world.requests[number]["next"])
        lose(world, replica, number, now_s)
        number = behind


# Time


@compiled
def pass_time(world: World, now_s: float) -> None:
    """Let time pass in which nothing happens."""
    site, totals = world.site[0], world.totals[0]
    passed_s = now_s - site["now_s"]
    totals["serving_s"] += passed_s * float(site["serving"])
    totals["running_s"] += passed_s * float(site["running"])
    totals["waiting_s"] += passed_s * float(site["waiting"])
    site["now_s"] = now_s


@compiled
def soonest_due(world: World) -> int:
    """Return the replica with the soonest event."""
    soonest = 0
    for replica in range(1, len(world.due_s)):
        if world.due_s[replica] < world.due_s[soonest]:
            soonest = replica
    return soonest


@compiled
def arrive(world: World, now_s: float) -> None:
    """Let the next request of the trace come."""
    number = int(world.site[0]["next"])
    world.site[0]["next"] += 1
    world.totals[0]["arrivals"] += 1.0
    if not diverts(world, number, now_s):
        route(world, number, now_s)


@compiled
def advance(world: World, until_s: float) -> None:
    """Let everything happen up to a moment, itself included; up to math.inf: until all that arrived is answered."""
    site, requests = world.site[0], world.requests
    while True:
        replica = soonest_due(world)
        due = world.due_s[replica]
        arrival = requests[int(site["next"])]["arrival_s"] if site["next"] < len(requests) else math.inf
        expiry = next_expiry_s(world)
        now_s = min(due, arrival, expiry)
        if now_s > until_s or now_s == math.inf:
            break
        pass_time(world, now_s)
        if due == now_s and world.replicas[replica]["state"] == STARTING:
            become_ready(world, replica, now_s)
        elif due == now_s:
            end_steps(world, replica, now_s)
        elif expiry == now_s:
            expire(world, now_s)
        else:
            arrive(world, now_s)
    if until_s < math.inf:
        pass_time(world, until_s)
        for each in range(len(world.due_s)):
            if world.replicas[each]["state"] in (READY, DRAINING):
                show_steps(world, each, until_s)
