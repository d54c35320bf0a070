-- The edge. Of a streamed request: asks the backend for token counts, marks the request as streamed for the second tier, hides the counts
-- from a client that did not ask for them, and takes the time to the first byte of the body. Other bodies pass untouched.
local STREAMED, OPTIONS, INCLUDE = { stream = true }, { stream = true, stream_options = true }, { include_usage = true }
local COUNTED = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true }  -- where stream_options exists
local LONGEST_EVENT = 1048576  -- an unfinished event longer than this is passed on as it is

-- The body with stream_options.include_usage on, and whether that had to be added.
local function with_usage(s, found)
  local span = found.stream_options
  if not span then
    local brace = find(s, "{", 1, true)
    return sub(s, 1, brace) .. '"stream_options":{"include_usage":true},' .. sub(s, brace + 1), true
  end
  local options = sub(s, span[1], span[2])
  if options == "null" then return sub(s, 1, span[1] - 1) .. '{"include_usage":true}' .. sub(s, span[2] + 1), true end
  local inner = members(options, INCLUDE)
  if not inner then return s, false end  -- not an object: the backend will say so
  local asked = inner.include_usage
  if not asked then
    local comma = find(options, "^{%s*}") and "" or ","
    return sub(s, 1, span[1]) .. '"include_usage":true' .. comma .. sub(s, span[1] + 1), true
  end
  if sub(options, asked[1], asked[2]) == "true" then return s, false end
  return sub(s, 1, span[1] + asked[1] - 2) .. "true" .. sub(s, span[1] + asked[2]), true
end

function envoy_on_request(h)
  local headers = h:headers()
  local kind = headers:get("content-type")
  if not kind or not find(kind, "json", 1, true) then return end
  local body = h:body()
  if not body then return end
  local s = body:getBytes(0, body:length())
  if not find(s, '"stream"', 1, true) then return end
  headers = h:headers()
  local path = string.match(headers:get(":path"), "^[^?]*")
  local found = members(s, COUNTED[path] and OPTIONS or STREAMED)
  if not found or not found.stream or sub(s, found.stream[1], found.stream[2]) ~= "true" then return end
  local meta = h:streamInfo():dynamicMetadata()
  meta:set("spillway", "started", h:timestamp(EnvoyTimestampResolution.MILLISECOND))
  if COUNTED[path] then
    local asked, added = with_usage(s, found)
    if added then
      headers:replace("content-length", tostring(body:setBytes(asked)))
      meta:set("spillway", "hide_usage", true)
    end
  end
  headers:replace("x-spillway-stream", "1")
end

-- The text without events that carry nothing but token counts; what is left of an unfinished event; whether nothing more needs a look.
-- A quote within a JSON string is always escaped, so these patterns cannot match generated text.
local function without_usage(text)
  local kept, pos = {}, 1
  while true do
    local _, last = find(text, "\r?\n\r?\n", pos)
    if not last then break end
    local event = sub(text, pos, last)
    if not (find(event, '"usage"%s*:%s*{') and find(event, '"choices"%s*:%s*%[%s*%]')) then kept[#kept + 1] = event end
    pos = last + 1
  end
  local rest = sub(text, pos)
  local over = #rest > LONGEST_EVENT or sub(rest, 1, 12) == "data: [DONE]"
  if over then
    kept[#kept + 1] = rest
    rest = ""
  end
  return table.concat(kept), rest, over
end

function envoy_on_response(h)
  local headers = h:headers()
  local status = headers:get(":status")
  if status ~= "200" then
    if (status == "503" or status == "429") and not headers:get("retry-after") then headers:add("retry-after", "1") end
    return
  end
  local kind = headers:get("content-type")
  if not kind or not find(kind, "event-stream", 1, true) then return end
  local mine = h:streamInfo():dynamicMetadata():get("spillway")
  if not mine then return end
  local started, hide, first, rest = mine.started, mine.hide_usage, true, ""
  for chunk in h:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      if first then
        first = false
        local waited = h:timestamp(EnvoyTimestampResolution.MILLISECOND) - started
        h:streamInfo():dynamicMetadata():set("spillway", "first_body_ms", waited)
        if not hide then return end
      end
      local text = chunk:getBytes(0, length)
      if rest ~= "" or find(text, '"usage"', 1, true) or not find(text, "\n\r?\n$") then
        local shown, over
        shown, rest, over = without_usage(rest .. text)
        chunk:setBytes(shown)
        if over then return end
      end
    end
  end
end
