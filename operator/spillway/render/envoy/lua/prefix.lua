-- Requests at the edge: makes the key by which a replica is chosen, so that what begins alike meets the cache that knows it. The key is the
-- session that the client names, else the beginning of its prompt. A wrong guess costs a cache miss and nothing else; so this only
-- looks for names where they are likely, goes no deeper than PREFIX_BYTES, and never refuses a request.
local PROMPTS = {
  ["/v1/chat/completions"] = { '"messages"' },
  ["/v1/completions"] = { '"prompt"' },
  ["/v1/responses"] = { '"instructions"', '"input"' },
}
local CACHE_KEY = '"prompt_cache_key"'  -- OpenAI's own member for this
local LONGEST_SESSION = 256
local LOOK = 262144  -- bytes at either end of a body: looking through all of 14 MB took 90 ms of the worker

-- Where the value of the first member with this name begins. Within a string its quotes would be escaped; in an object within, it is still
-- the same place in requests that are made alike.
local function value_of(s, name)
  local pos = 1
  while true do
    local _, last = find(s, name, pos, true)
    if not last then return nil end
    local _, before = find(s, "^%s*:%s*", last + 1)
    if before then return before + 1 end
    pos = last + 1
  end
end

-- The value that begins at `first`, or as much of it as there may be of a prompt.
local function beginning(s, first)
  local longest = first + PREFIX_BYTES - 1
  local depth, pos = 0, first
  while pos <= longest do
    local p = find(s, '["{}%[%],]', pos)
    if not p or p > longest then break end
    local c = byte(s, p)
    pos = p + 1
    if c == 34 then
      local q = string_end(s, p)
      if not q or q > longest then break end
      pos = q + 1
      if depth == 0 then return sub(s, first, q) end
    elseif c == 123 or c == 91 then
      depth = depth + 1
    elseif c ~= 44 then
      depth = depth - 1
      if depth <= 0 then return sub(s, first, depth < 0 and p - 1 or p) end
    elseif depth == 0 then
      return sub(s, first, p - 1)
    end
  end
  return sub(s, first, longest)
end

local function cache_key(s)
  local first = value_of(s, CACHE_KEY)
  if not first or byte(s, first) ~= 34 then return nil end
  local last = string_end(s, first)
  if last and last > first + 1 then return sub(s, first + 1, math.min(last - 1, first + LONGEST_SESSION)) end
end

local function prompt(path, s)
  local parts = {}
  for _, name in ipairs(PROMPTS[path] or {}) do
    local first = value_of(s, name)
    if first then parts[#parts + 1] = beginning(s, first) end
  end
  if #parts > 0 then return sub(table.concat(parts), 1, PREFIX_BYTES) end
end

-- A number that differs for texts that differ, nearly always: 31 in place of the base keeps every product exact in a double.
local function number_of(text)
  local number = #text
  for i = 1, #text do number = (number * 31 + byte(text, i)) % 4294967291 end
  return number
end

function envoy_on_request(h)
  local body = h:body()
  local length = body and body:length() or 0
  local head, tail = "", ""
  if length > 0 then head = body:getBytes(0, math.min(length, LOOK)) end
  if length > LOOK then
    local from = math.max(LOOK, length - LOOK)
    tail = body:getBytes(from, length - from)
  end
  local headers = h:headers()
  local named = headers:get("x-session-id")
  local text = named and named ~= "" and sub(named, 1, LONGEST_SESSION)
    or cache_key(head) or cache_key(tail) or prompt(string.match(headers:get(":path"), "^[^?]*"), head)
  if text then headers:replace("x-spillway-prefix", string.format("%.0f", number_of(text))) end
end
