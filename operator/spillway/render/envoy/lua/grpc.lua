-- What says that it is gRPC is refused, and told so in HTTP: to such a request Envoy makes all that it answers itself a 200 without a body,
-- the refusals of the second tier included, which would pass for an answer.
function envoy_on_request(h) h:respond({ [":status"] = "415" }, "") end

function envoy_on_response(h)
  local headers = h:headers()
  local json = headers:get("grpc-message")  -- the mapper's words
  if not json then return end  -- application/grpc-web, which Envoy takes for HTTP
  headers:remove("grpc-message")
  headers:remove("grpc-status")
  headers:replace(":status", "415")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(#json))
  h:body(true):setBytes(json)
end
