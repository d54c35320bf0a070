-- Streamed answers at the edge: takes the time to the first token, tells when an event is an error, reads token counts, and hides
-- them from a client that did not ask. Envoy's own filter for the counts (sse_to_metadata) parses the JSON of every event, for a third of what
-- an event costs the gateway; here a search at memory speed passes by all that cannot have them.
local LONGEST_EVENT = 1048576  -- an unfinished event longer than this is passed on as it is
-- Where APIs put the counts: chat and completions; the last event of responses; the first of messages, whose output is not yet written.
local PLACES, WITHIN = { usage = true, response = true, message = true }, { usage = true }
local COUNTS = {
  prompt_tokens = "input_tokens", completion_tokens = "output_tokens",
  input_tokens = "input_tokens", output_tokens = "output_tokens", total_tokens = "total_tokens",
}

local function number_at(text, span) return span and tonumber(sub(text, span[1], span[2])) end

-- How many tokens of the prompt the provider found in its cache, as its usage tells: OpenAI's and most others' within details, Moonshot's and
-- DeepSeek's beside the counts.
local CACHED = { prompt_tokens_details = true, input_tokens_details = true, prompt_cache_hit_tokens = true, cached_tokens = true }
local function cached(usage)
  if not find(usage, "cache", 1, true) then return end
  local found = members(usage, CACHED) or {}
  local span = found.input_tokens_details or found.prompt_tokens_details
  local details = span and sub(usage, span[1], span[2])
  local within = details and number_at(details, (members(details, CACHED) or {}).cached_tokens)
  return within or number_at(usage, found.prompt_cache_hit_tokens) or number_at(usage, found.cached_tokens)
end

-- Keeps the counts of an event, if it has them in one of those places: what a client or a model wrote elsewhere is none.
local function count(h, event)
  local brace = find(event, "{", 1, true)
  local text = brace and sub(event, brace)
  local found = text and members(text, PLACES)
  if not found then return end
  local span, around = found.usage, found.response or found.message
  if not span and around then
    text = sub(text, around[1], around[2])
    span = (members(text, WITHIN) or {}).usage
  end
  if not span then return end
  text = sub(text, span[1], span[2])
  local meta = h:streamInfo():dynamicMetadata()  -- anew each time: it dies with the next chunk
  for name, value in pairs(members(text, COUNTS) or {}) do
    local number, key = number_at(text, value), COUNTS[name]
    if told_tokens(number, 0) and not (found.message and key == "output_tokens") then meta:set("usage", key, number) end
  end
  local hit = cached(text)
  if told_tokens(hit, 0) then meta:set("usage", "cached_input_tokens", hit) end
end

-- Whether an event says that its request failed, as no status can once a stream has been opened with 200: vLLM's of a full queue or a dead
-- engine, OpenAI's `error` and `response.failed`, the last chunk of providers that route to others.
local FAILED = { error = true, type = true, response = true }
local function is_error(event)
  local brace = find(event, "{", 1, true)
  local text = brace and sub(event, brace)
  local found = text and members(text, FAILED)
  if not found then return false end
  if found.type and sub(text, found.type[1], found.type[2]) == '"error"' then return true end
  if not found.error and found.response then
    text = sub(text, found.response[1], found.response[2])
    found = members(text, FAILED) or {}
  end
  return found.error ~= nil and sub(text, found.error[1], found.error[2]) ~= "null"
end

local NO_CHOICE, A_CHOICE = '"choices"%s*:%s*%[%s*%]', '"choices"%s*:%s*%[%s*{'

-- Reads an event: keeps that it is an error, and its counts, if it has some; whether it carries nothing else than these.
local function only_counts(h, event)
  local failed = find(event, '"error"', 1, true) and is_error(event)
  if failed then h:streamInfo():dynamicMetadata():set("spillway", "stream_error", true) end
  local counts = find(event, '"usage"', 1, true) and find(event, '"usage"%s*:%s*{')
  if counts then count(h, event) end
  return counts and not failed and find(event, NO_CHOICE) and not find(event, A_CHOICE)  -- events without blank lines are one to us
end

-- The text without events that carry nothing but token counts; what is left of an unfinished event; whether nothing more needs a look.
-- A quote within a JSON string is always escaped, so these patterns cannot match generated text. A search for plain text is several times
-- as fast as one for a pattern, and nearly every event is done with it.
local function without_usage(h, text)
  local kept, pos = {}, 1
  local plain = not find(text, "\r", 1, true)
  while true do
    local _, last = find(text, plain and "\n\n" or "\r?\n\r?\n", pos, plain)
    if not last then break end
    local event = sub(text, pos, last)
    if not only_counts(h, event) then kept[#kept + 1] = event end
    pos = last + 1
  end
  local rest = sub(text, pos)
  local over = #rest > LONGEST_EVENT or sub(rest, 1, 12) == "data: [DONE]"
  if over or find(rest, "^:[^\r\n]*\r?\n$") then  -- a comment is whole with its line
    kept[#kept + 1] = rest
    rest = ""
  end
  return table.concat(kept), rest, over
end

-- Whether the text ends with an event.
local function is_whole(text)
  local last, before = byte(text, -1), byte(text, -2)
  return last == 10 and (before == 10 or before == 13 and byte(text, -3) == 10)
end

-- Whether a part of a stream has a token, where none came before it. Comments (": ...") only keep the connection open, responses are
-- `announced`: they tell of themselves before anything is read, and Azure tells first, without a choice, what its filter found in the prompt.
local function has_token(text, announced)
  if announced then return find(text, '.delta"', 1, true) ~= nil end
  if byte(text, 1) == 58 and not find(text, "\ndata:", 1, true) then return false end
  return not find(text, NO_CHOICE) or find(text, A_CHOICE) ~= nil
end

-- Keeps the mean gap between the tokens of a stream that told their number, from its first byte to now: its end. Several answers at once have
-- their tokens beside each other.
local function pace(h, first_at, answers)
  local meta = h:streamInfo():dynamicMetadata()
  local _, tokens = told_usage(meta:get("usage"))
  local gaps = (tokens or 0) / answers - 1
  local lasted = first_at and h:timestamp(EnvoyTimestampResolution.MILLISECOND) - first_at
  if gaps >= 1 and lasted and lasted >= 0 then meta:set("spillway", "inter_token_us", math.floor(lasted * 1000 / gaps)) end
end

function envoy_on_response(h)
  local headers = h:headers()
  local kind = headers:get("content-type")
  if headers:get(":status") ~= "200" or not kind or not find(kind, "event-stream", 1, true) then return end
  local mine = h:streamInfo():dynamicMetadata():get("spillway")
  if not mine then return end
  local started, announced, answers, first_at, rest = mine.started, mine.announced, mine.answers or 1, nil, ""
  local hide = mine.hide_usage and not headers:get("content-encoding")  -- what is compressed has no events to wait for
  if hide then headers:remove("content-length") end  -- a stream that states one gets shorter
  for chunk in h:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      local at, over = h:timestamp(EnvoyTimestampResolution.MILLISECOND), false
      local text, held = chunk:getBytes(0, length), rest
      if rest ~= "" or find(text, '"usage"', 1, true) or find(text, '"error"', 1, true) or not is_whole(text) then
        local shown
        shown, rest, over = without_usage(h, rest .. text)
        if hide then chunk:setBytes(shown) end
      end
      if not first_at and has_token(held .. text, announced) then
        first_at = at
        local told = h:streamInfo():dynamicMetadata()
        -- The clock was set back meanwhile: not known. Envoy would count a negative time as one of ages, and turn its counter back.
        if at >= started and not told:get("spillway").stream_error then told:set("spillway", "first_body_ms", at - started) end
      end
      if over then return pace(h, first_at, answers) end
    elseif hide and rest ~= "" then  -- the end, after an event that lacks its blank line
      if not only_counts(h, rest) then chunk:setBytes(rest) end
      rest = ""
    end
  end
  only_counts(h, rest)
  pace(h, first_at, answers)
end
