-- Appended to hosted.lua where something limits a hosted backend: its requests need a permit, which the operator renews in a file. Counts
-- in micro-USD, each request at its longest answer until its usage is known. Every worker thread has a lane of its own in the permit, so
-- threads share nothing. A permit says up to where a lane's meter may run, never how much more: read late or twice, it allows no more.
-- Without a permit, with an expired one, or should this script fail (RBAC behind it asks for its mark), nothing is sent.
local rewrite, pass_on = envoy_on_request, envoy_on_response
local abs, ceil, max, min, now_s = math.abs, math.ceil, math.max, math.min, os.time
local LIMITS = {
  max_tokens = true, max_completion_tokens = true, max_output_tokens = true, n = true, best_of = true,
  messages = true, prompt = true, input = true, tools = true, functions = true, response_format = true, text = true,
  previous_response_id = true, conversation = true, web_search_options = true, data_sources = true, plugins = true,
}
local WORST_BYTES_PER_TOKEN, USUAL_BYTES_PER_TOKEN = 2, 4  -- dense text has some 3 bytes per token, English prose in JSON 4
-- An image takes tokens by its size, which a URL or a few kilobytes do not tell. The most is that of Qwen2-VL and 2.5-VL as published
-- (12,845,056 pixels, 784 to a token); others bound it lower.
local WORST_IMAGE_TOKENS, USUAL_IMAGE_TOKENS = 16384, 1024
-- Parts whose length nothing in the body tells.
local ELSEWHERE = { '"audio_url"', '"video_url"', '"video"', '"file"', '"input_file"', '"document_url"', '"item_reference"' }
-- Tools that the provider runs itself, whose names may go on with a date: what they find is read, and billed, as a prompt.
local SEARCHES = { '"web_search', '"file_search', '"code_interpreter', '"mcp', '"browser_search' }
local SPACE = { [9] = true, [10] = true, [13] = true, [32] = true }
local USUAL_OUTPUT = 1024  -- what an answer without a limit counts against tokens per minute
local STORM, LONGEST_BREAK = 3, 60  -- failures in a row that open the circuit; seconds that it stays open at most
local UNRENEWED = 30  -- Retry-After, seconds, where no permit is there
local BURST = 0.1  -- share of a minute's allowance that may come at once; the rest is spread, so that no minute sees more than all of it

local pod, thread = os.getenv("SPILLWAY_POD") or "", nil
local lane, expires, retry_at, limit_micro_usd, read_at = nil, 0, 0, nil, nil
local charged, sent = 0, 0  -- this lane's meters since the process started
local circuit = { failures = 0, opens = 0, pause = 0, open_until = 0, probe = nil }

local function first_line(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read("*l") or ""
  file:close()
  return text
end

local function bucket() return { level = nil, at = 0, room = 0, rate = 0 } end
local requests, tokens = bucket(), bucket()

local function allow(b, per_minute)
  if not per_minute then
    b.level = nil
    return
  end
  b.room = max(1, per_minute * BURST)
  b.rate = max(per_minute - b.room, per_minute / 2) / 60
  b.level = min(b.level or b.room, b.room)
end

-- A mark of the permit: "-" is none. What cannot be read allows nothing.
local function mark(text, unreadable) return text ~= "-" and (tonumber(text) or unreadable) or nil end

-- Reads the permit again when a second has passed: this thread's lane of it, or none.
local function read_permit(path, backend)
  if read_at == now_s() then return end
  read_at, lane, expires = now_s(), nil, 0
  thread = thread or string.match(first_line("/proc/thread-self/comm"), "(%d+)$") or "?"
  local file = io.open(path)
  if not file then return end
  local text = file:read("*a") or ""
  file:close()
  local never
  never, retry_at = string.match(text, "^expires (%S+)\nretry (%d+)\n")
  retry_at = tonumber(retry_at) or 0
  limit_micro_usd = tonumber(string.match(text, "\nlimit (%d+)\n")) or math.huge
  expires = never == "never" and math.huge or tonumber(never) or 0
  for p, w, b, from, to, sent_from, sent_to, rpm, tpm in string.gmatch(text, "lane (%S+) (%d+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)\n") do
    if p == pod and w == thread and b == backend then
      lane = {
        from = mark(from, math.huge) or 0, to = mark(to, -1),
        sent_from = mark(sent_from, math.huge) or 0, sent_to = mark(sent_to, -1),
      }
      allow(requests, tonumber(rpm))
      allow(tokens, tonumber(tpm))
    end
  end
end

-- Seconds until the bucket holds enough, 0 when it does. More than it can ever hold is let pass when it is full, and owed.
local function wait_for(b, amount, now)
  if not b.level then return 0 end
  b.level = min(b.room, b.level + max(0, now - b.at) * b.rate)
  b.at = now
  return max(0, (min(amount, b.room) - b.level) / b.rate)
end

local function take(b, amount) if b.level then b.level = b.level - amount end end

local function turn_away(h, status, kind, code, message, retry_s)
  h:streamInfo():dynamicMetadata():set("spillway", "refused", true)
  h:respond(
    { [":status"] = status, ["content-type"] = "application/json", ["retry-after"] = tostring(max(1, min(3600, ceil(retry_s)))) },
    '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":null,"code":"' .. code .. '"}}')
end

-- A number, also one written as text, which some providers take for one.
local function number(s, span)
  if not span then return nil end
  local found = tonumber(byte(s, span[1]) == 34 and unescaped(sub(s, span[1] + 1, span[2] - 1)) or sub(s, span[1], span[2]))
  return found and found > 0 and found < 1e9 and found or nil
end

local function asked(s, span)
  if not span then return false end
  local text = sub(s, span[1], min(span[2], span[1] + 8))
  return text ~= "null" and not find(text, "^%[%s*%]")
end

-- The text with letters that it has as escapes written out. No encoder escapes them, and `image\u005furl` is an image to who reads it.
local LETTERS = {}
for code = 48, 122 do
  local sign = string.char(code)
  if find(sign, "[%w_]") then
    for _, digits in ipairs({ "%x", "%X" }) do LETTERS[string.format(digits, code)] = sign end
  end
end
local function spelt_out(s) return find(s, "\\u00", 1, true) and s:gsub("\\u00(%x%x)", LETTERS) or s end

-- Whether the answer is to have a form other than plain text, which any model writes and some clients ask for in so many words.
local PLAIN = '{%s*"type"%s*:%s*"text"%s*}'
local function formatted(s, found)
  local form = found.response_format
  if asked(s, form) and not find(sub(s, form[1], form[2]), "^" .. PLAIN .. "$") then return true end
  local text = found.text and spelt_out(sub(s, found.text[1], found.text[2])):gsub('"format"%s*:%s*' .. PLAIN, ""):gsub('"format"%s*:%s*null', "")
  return text and find(text, '"format"', 1, true)
end

-- The last position before p that is no space.
local function before(s, p)
  repeat p = p - 1 until not SPACE[byte(s, p)]
  return p
end

-- How many parts of the request are of this type. The same word may be the name of a function's argument, or all that somebody writes.
local function parts(s, kind)
  local count, p = 0, find(s, kind, 1, true)
  while p do
    local colon = before(s, p)
    if byte(s, colon) == 58 then
      local name = before(s, colon)
      if lower(sub(s, name - 5, name)) == '"type"' then count = count + 1 end
    end
    p = find(s, kind, p + #kind, true)
  end
  return count
end

local function has_part(s, kinds)
  for _, kind in ipairs(kinds) do
    if parts(s, kind) > 0 then return true end
  end
  return false
end

-- What is said, with its letters written out; nothing where none of its members can name an image, audio or video.
local function said_of(s, text, found)
  if not find(text, '_url"', 1, true) then return "" end
  local said = ""
  for _, span in pairs({ found.messages, found.input }) do said = said .. spelt_out(sub(s, span[1], span[2])) end
  return said
end

-- How many members of what is said have this name. vLLM, which providers run too, goes by it where a part does not say its type, or has a
-- `uuid`, which may stand for the value. Elsewhere it is no part: a function's argument, the request's metadata.
local function named(said, name)
  local count, _, last = 0, find(said, name, 1, true)
  local empty = not find(said, '"uuid"', 1, true) and "^%s*:%s*null"  -- what some encoders write of a part of text
  while last do
    if find(said, "^%s*:", last + 1) and not (empty and find(said, empty, last + 1)) then count = count + 1 end
    _, last = find(said, name, last + 1, true)
  end
  return count
end

-- Whether the model reads something that the body only names: what was said before, a prompt that the provider keeps, a file.
local function refers(s, text, found, said)
  if asked(s, found.previous_response_id) or asked(s, found.conversation) then return true end
  if found.prompt and byte(s, found.prompt[1]) == 123 then return true end
  return has_part(text, ELSEWHERE) or named(said, '"audio_url"') + named(said, '"video_url"') > 0
end

-- Whether the provider looks for more to read.
local function searches(s, found)
  if asked(s, found.web_search_options) or asked(s, found.data_sources) or asked(s, found.plugins) then return true end
  return asked(s, found.tools) and has_part(spelt_out(sub(s, found.tools[1], found.tools[2])), SEARCHES)
end

-- Whether the request has something to listen to, or to watch.
local function has_audio(text, said) return has_part(text, { '"input_audio"', '"audio_url"' }) or named(said, '"audio_url"') > 0 end
local function has_video(text, said) return has_part(text, { '"video_url"', '"video"' }) or named(said, '"video_url"') > 0 end

-- What the hosted model lacks for this request; nil when it can answer it. `length`: the bytes of text that have to fit its context; false:
-- there are others beside them.
local function lacking(meta, s, text, said, found, images, length, limit)
  local listed = meta:get("capabilities")
  if listed then
    local tools = asked(s, found.tools) or asked(s, found.functions)
    if tools and not find(listed, " Tools ", 1, true) then return "tools" end
    if formatted(s, found) and not find(listed, " ResponseFormat ", 1, true) then return "response_format" end
    if images > 0 and not find(listed, " Vision ", 1, true) then return "images" end
    if not find(listed, " Audio ", 1, true) and has_audio(text, said) then return "audio" end
    if not find(listed, " Video ", 1, true) and has_video(text, said) then return "video" end
  end
  local context = meta:get("context_tokens")
  if context and length and length / USUAL_BYTES_PER_TOKEN + limit > context then return "this context length" end
end

function envoy_on_request(h)
  rewrite(h)
  local meta, headers, now = h:metadata(), h:headers(), h:timestamp(EnvoyTimestampResolution.MILLISECOND) / 1000
  local body = h:body()
  local s = body:getBytes(0, body:length())
  local found, why = members(s, LIMITS)
  if not found then return refuse(h, "400", "invalid_body", "invalid request body: " .. why) end
  local limit = max(number(s, found.max_tokens) or 0, number(s, found.max_completion_tokens) or 0, number(s, found.max_output_tokens) or 0)
  local text = spelt_out(s)
  local said = said_of(s, text, found)
  local images = max(parts(text, '"image_url"') + parts(text, '"input_image"'), named(said, '"image_url"'))
  local embeds = find(headers:get(":path"), "/embeddings", 1, true)
  local count, longest, whole = prompts(s, embeds and found.input or found.prompt)
  local more = refers(s, text, found, said)
  local is_text = images == 0 and not more and parts(text, '"input_audio"') == 0
  local missing = lacking(meta, s, text, said, found, images, is_text and #s - whole + longest, limit)
  if missing then
    return turn_away(h, "503", "overloaded_error", "no_capacity",
      "no replica is available, and the hosted backend does not support requests with " .. missing .. "; try again later", 1)
  end
  if circuit.open_until > now + LONGEST_BREAK then circuit.open_until = now end  -- the clock was set back meanwhile
  -- Nobody sees the end of a probe that its client leaves, and a long plain answer tells late: another tries after as long again.
  if now < circuit.open_until or (circuit.probe and abs(now - circuit.probe) < circuit.pause) then
    return turn_away(h, "503", "overloaded_error", "no_capacity", "no backend is available; try again later", circuit.open_until - now)
  end
  local answers = max(number(s, found.n) or 1, number(s, found.best_of) or 1) * count
  local context = meta:get("context_tokens")
  local input = min(ceil(#s / WORST_BYTES_PER_TOKEN) + images * WORST_IMAGE_TOKENS, context and context * count or math.huge)
  if more or searches(s, found) then input = max(input, meta:get("longest_output")) end  -- the context, or what stands for it
  local output = embeds and 0 or answers * (limit > 0 and limit or meta:get("longest_output"))
  local cost = ceil(input * max(meta:get("input_price"), meta:get("cached_input_price")) + output * meta:get("output_price"))
  local load = ceil(#s / USUAL_BYTES_PER_TOKEN) + images * USUAL_IMAGE_TOKENS + (embeds and 0 or answers * (limit > 0 and limit or USUAL_OUTPUT))
  local path = meta:get("permit_file")
  if path then
    read_permit(path, meta:get("backend"))
    if not lane or now_s() >= expires then
      return turn_away(h, "429", "rate_limit_error", "spill_permit_missing",
        "no replica is available, and the permit for hosted backends has not been renewed; try again later", UNRENEWED)
    end
    -- A meter below where the permit begins is that of a process that has restarted since: wait for the next permit.
    local spent = lane.to and (charged < lane.from or charged + cost > lane.to)
    local shared = lane.sent_to and (sent < lane.sent_from or sent + 1 > lane.sent_to)
    if spent or shared then
      -- What all of the limit is too little for does not tell how short that is, nor where the rest is wanted, unless nothing else comes.
      if sent == 0 or cost <= limit_micro_usd then
        local refused = h:streamInfo():dynamicMetadata()
        refused:set("permit_refused", "charge", cost)
        refused:set("permit_refused", "worker", thread)
      end
      return turn_away(h, "429", "rate_limit_error", "spill_limit_reached",
        "no replica is available, and this workload's limit on hosted backends is reached; try again later", retry_at - now_s())
    end
    local wait_s = max(wait_for(requests, 1, now), wait_for(tokens, load, now))
    if wait_s > 0 then
      return turn_away(h, "429", "rate_limit_error", "provider_limit_reached",
        "no replica is available, and the hosted account's per-minute limit is reached; try again later", wait_s)
    end
    take(requests, 1)
    take(tokens, load)
  end
  if circuit.open_until > 0 then circuit.probe = now end
  charged, sent = charged + cost, sent + 1
  local mine = h:streamInfo():dynamicMetadata()
  mine:set("permit", "charge", cost)
  mine:set("permit", "load", load)
  mine:set("permit", "worker", thread or "?")
  headers:replace("x-spillway-permitted", "1")
end

local function settle(meta, mine, cost, load)
  charged = charged + cost - mine.charge
  if tokens.level then tokens.level = min(tokens.room, tokens.level + mine.load - load) end
  meta:set("permit", "charge", cost)
end

local function note(failed, told_s, now)
  local probed = circuit.probe ~= nil
  circuit.probe = nil
  if not failed then
    if now >= circuit.open_until then circuit.failures, circuit.opens, circuit.open_until = 0, 0, 0 end
    return
  end
  circuit.failures = circuit.failures + 1
  if not (told_s or probed or circuit.failures >= STORM) then return end
  if now < circuit.open_until then return end  -- one of those that were under way when it opened
  circuit.opens = circuit.opens + 1
  circuit.pause = min(LONGEST_BREAK, max(told_s or 0, 2 ^ min(circuit.opens - 1, 6)))
  circuit.open_until = now + circuit.pause
end

function envoy_on_response(h)
  local meta = h:streamInfo():dynamicMetadata()
  local mine = meta:get("permit")
  if not mine then return pass_on(h) end  -- refused above, nothing was charged
  local headers, now = h:headers(), h:timestamp(EnvoyTimestampResolution.MILLISECOND) / 1000
  local status = tonumber(headers:get(":status")) or 0
  local told = tonumber(headers:get("retry-after") or "")  -- get() returns nothing for a header that is not there, which tonumber does not take
  note(status == 402 or status == 429 or status >= 500, status == 429 and told or nil, now)  -- 402: the account has nothing left
  -- One that we gave up, since its headers are late, the provider may bill: like any that is cut, it stays at the longest answer.
  local answered = status >= 200 and status < 300
  if not answered and not headers:get("x-spillway-given-up") then settle(meta, mine, 0, 0) end
  pass_on(h)
  if not answered then return end
  local config = h:metadata()
  local input_price, cached_price, output_price = config:get("input_price"), config:get("cached_input_price"), config:get("output_price")
  for _ in h:bodyChunks() do end
  meta = h:streamInfo():dynamicMetadata()  -- the wrapper died with the first chunk
  local input, output, cached = told_usage(meta:get("usage"))
  if not input then return end  -- not reported, or cut: the charge stays at the longest answer
  settle(meta, mine, ceil((input - cached) * input_price + cached * cached_price + output * output_price), input + output)
end
