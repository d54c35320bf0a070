-- Reads a JSON object's own members without parsing the rest, so that everything else in the body stays byte for byte.
local find, byte, sub, lower = string.find, string.byte, string.sub, string.lower
local BOM = "\239\187\191"  -- what Windows writes before UTF-8, and Python's JSON, so vLLM, passes over

-- Position of the quote that closes the string opened at p; nil when there is none. A plain search for the quote runs at memory speed, which
-- matters for prompts and images of many megabytes. It looks no further than that quote: a body may have a million short strings.
local function string_end(s, p)
  local q = p
  while true do
    q = find(s, '"', q + 1, true)
    if not q then return nil end
    local b = q - 1
    while byte(s, b) == 92 do b = b - 1 end
    if (q - b) % 2 == 1 then return q end
  end
end

-- A name as Go compares it, which takes members in any case: two letters beyond ASCII are one of it in lower case, the long s and Kelvin's.
local function folded(name)
  name = lower(name)
  if not find(name, "[\128-\255]") then return name end
  return (name:gsub("\197\191", "s"):gsub("\226\132\170", "k"))
end

-- Spans {first, last} of the values of the top-level members named in `wanted` (a set), or nil and why not.
-- Strict where decoders disagree (duplicate, escaped or wrong-case names), since a body that two readers read differently could slip a
-- member past the gateway.
local function members(s, wanted)
  local start = find(s, "%S", sub(s, 1, 3) == BOM and 4 or 1)
  if not start or byte(s, start) ~= 123 then return nil, "the body is not a JSON object" end
  -- UTF-8 has no such byte in JSON; readers that find one decode UTF-16, in which the same bytes are another object.
  if find(s, "\0", 1, true) then return nil, "the body is not UTF-8" end
  local found, depth, at_key, open, pos = {}, 0, false, nil, start
  -- Byte by byte, which is compiled: a search for the next sign is not, and a body of nothing else held up the thread for seconds.
  while pos <= #s do
    local p = pos
    local c = byte(s, p)
    pos = p + 1
    if c == 34 then
      local q = string_end(s, p)
      if not q then return nil, "unterminated string" end
      pos = q + 1
      if depth == 1 and at_key then
        at_key = false
        local key = sub(s, p + 1, q - 1)
        if find(key, "\\", 1, true) then return nil, "escape sequence in a top-level name" end
        if not wanted[key] and wanted[folded(key)] then return nil, "top-level name in the wrong case" end
        if wanted[key] then
          if found[key] then return nil, "duplicate field " .. key end
          local _, colon = find(s, "^%s*:%s*", q + 1)
          if not colon then return nil, "a field without a value" end
          local first = colon + 1
          local v = byte(s, first)
          if v == 34 then
            local last = string_end(s, first)
            if not last then return nil, "unterminated string" end
            found[key] = { first, last }
            pos = last + 1
          elseif v == 123 or v == 91 then
            open = { first, 0 }
            found[key] = open
            pos = first
          else
            local _, last = find(s, "^[%w%.%+%-]+", first)
            if not last then return nil, "a field without a value" end
            found[key] = { first, last }
            pos = last + 1
          end
        end
      end
    elseif c == 123 or c == 91 then
      depth = depth + 1
      if depth == 1 then
        if p ~= start then return nil, "trailing data" end
        at_key = true
      end
    elseif c == 125 or c == 93 then
      depth = depth - 1
      if depth == 1 and open then
        open[2] = p
        open = nil
      end
    elseif c == 44 and depth == 1 then
      at_key = true
    end
  end
  if depth ~= 0 then return nil, "unbalanced JSON" end
  return found
end

-- How many prompts a request has, the bytes of the longest and of all: each is answered, and has to fit the context, for itself. Strings, or
-- lists of tokens; a flat list of tokens is one.
local function prompts(s, span)
  if not span then return 1, 0, 0 end
  local whole = span[2] - span[1] + 1
  local p = byte(s, span[1]) == 91 and find(s, "%S", span[1] + 1)
  local kind = p and byte(s, p)
  if kind ~= 34 and kind ~= 91 then return 1, whole, whole end
  local count, longest = 0, 0
  while p and p < span[2] do
    local last = (kind == 34 and string_end(s, p) or kind == 91 and find(s, "]", p + 1, true)) or span[2]
    count, longest = count + 1, math.max(longest, last - p + 1)
    p = find(s, kind == 34 and '"' or "[", last + 1, true)
  end
  return count, longest, whole
end
