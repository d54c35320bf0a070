-- Streamed answers at the edge: takes the time to the first byte of the body, tells when that is an error, and hides token counts from a
-- client that did not ask.
local byte, find, sub = string.byte, string.find, string.sub
local ERROR = 'data: {"error"'  -- vLLM may open a stream with 200 and then refuse the request
local LONGEST_EVENT = 1048576  -- an unfinished event longer than this is passed on as it is

-- The text without events that carry nothing but token counts; what is left of an unfinished event; whether nothing more needs a look.
-- A quote within a JSON string is always escaped, so these patterns cannot match generated text. A search for plain text is several times
-- as fast as one for a pattern, and nearly every event is done with it.
local function without_usage(text)
  local kept, pos = {}, 1
  local plain = not find(text, "\r", 1, true)
  while true do
    local _, last = find(text, plain and "\n\n" or "\r?\n\r?\n", pos, plain)
    if not last then break end
    local event = sub(text, pos, last)
    local counts = find(event, '"usage"', 1, true) and find(event, '"usage"%s*:%s*{') and find(event, '"choices"%s*:%s*%[%s*%]')
    if not counts then kept[#kept + 1] = event end
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

-- Whether the text ends with an event.
local function is_whole(text)
  local last, before = byte(text, -1), byte(text, -2)
  return last == 10 and (before == 10 or before == 13 and byte(text, -3) == 10)
end

function envoy_on_response(h)
  local headers = h:headers()
  local kind = headers:get("content-type")
  if headers:get(":status") ~= "200" or not kind or not find(kind, "event-stream", 1, true) then return end
  local mine = h:streamInfo():dynamicMetadata():get("spillway")
  if not mine then return end
  local started, hide, first, rest = mine.started, mine.hide_usage, true, ""
  for chunk in h:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      if first then
        first = false
        if length >= #ERROR and chunk:getBytes(0, #ERROR) == ERROR then
          h:streamInfo():dynamicMetadata():set("spillway", "stream_error", true)
          return
        end
        local waited = h:timestamp(EnvoyTimestampResolution.MILLISECOND) - started
        h:streamInfo():dynamicMetadata():set("spillway", "first_body_ms", waited)
        if not hide then return end
      end
      local text = chunk:getBytes(0, length)
      if rest ~= "" or find(text, '"usage"', 1, true) or not is_whole(text) then
        local shown, over
        shown, rest, over = without_usage(rest .. text)
        chunk:setBytes(shown)
        if over then return end
      end
    end
  end
end
