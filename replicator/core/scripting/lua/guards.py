"""Lua, first part of the sandbox: argument checks, read-only tables, time, catching errors, memory."""

GUARDS = r"""
local host, engine = ...
local byte, sub, find, gsub, format, rep = string.byte, string.sub, string.find, string.gsub, string.format, string.rep
local concat, floor, ceil = table.concat, math.floor, math.ceil
local type, tostring, tonumber, select = type, tostring, tonumber, select
local error, rawpcall, rawxpcall = error, pcall, xpcall
local rawnext, rawget, rawset, rawsetmetatable, rawgetmetatable = next, rawget, rawset, setmetatable, getmetatable
local rawinsert, rawcollect, rawloadstring, rawsetfenv = table.insert, collectgarbage, loadstring, setfenv
local getinfo, sethook, dump = debug.getinfo, debug.sethook, string.dump
local HOOK_EVERY = host.hook_every
local HIGH_WATER = host.high_water_kib
local MOST_ITEMS, MOST_BYTES = host.most_pattern_items, host.most_bytes
local match, gmatch, rawunpack = string.match, string.gmatch, unpack
local READONLY = 'Attempt to modify a readonly table'

-- argument checks, for functions that a script calls ----------------------------------------------------------------

-- A number as C makes an int of it: towards zero, the low 32 bits; 0 for what no 64-bit integer holds, NaN among it.
local function int32(number)
  if not (number >= -9223372036854775808 and number < 9223372036854775808) then return 0 end
  number = (number < 0 and ceil(number) or floor(number)) % 4294967296
  if number >= 2147483648 then return number - 4294967296 end
  return number
end

engine.int32 = int32

local function type_name(count, at, value)
  if at > count then return 'no value' end
  return type(value)
end

local function bad_argument(at, name, why)
  error(format("bad argument #%d to '%s' (%s)", at, name, why), 3)
end

local function bad_type(at, name, wanted, count, value)
  error(format("bad argument #%d to '%s' (%s expected, got %s)", at, name, wanted, type_name(count, at, value)), 3)
end

engine.bad_argument, engine.bad_type = bad_argument, bad_type

-- read-only tables --------------------------------------------------------------------------------------------------

local real_of = {}    -- proxy -> real table
local shown_as = {}   -- real metatable -> what getmetatable shows; false: nothing

local function refuse()
  error(READONLY, 2)
end

local function readonly(real)
  local proxy, guard = {}, { __index = real, __newindex = refuse }
  real_of[proxy] = real
  shown_as[guard] = false
  return rawsetmetatable(proxy, guard), guard
end

engine.readonly = readonly
engine.real_of = real_of

local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

-- For globals: `server` is what Valkey calls `redis`, and its snapshots may bring libraries that say so. Found only
-- when it is looked for: a script that lists its globals finds those of Redis.
local function missing_but_server(world)
  return function(_, name)
    if name == 'server' then return world.redis end
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end
end

local function next_shown(...)
  local t, key = ...
  if type(t) ~= 'table' then bad_type(1, 'next', 'table', select('#', ...), t) end
  return rawnext(real_of[t] or t, key)
end

local function pairs_shown(...)
  local t = ...
  if type(t) ~= 'table' then bad_type(1, 'pairs', 'table', select('#', ...), t) end
  if real_of[t] then return next_shown, t, nil end
  return rawnext, t, nil
end

local function rawget_shown(...)
  local t, key = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'rawget', 'table', count, t) end
  if count < 2 then bad_argument(2, 'rawget', 'value expected') end
  return rawget(real_of[t] or t, key)
end

local function rawset_shown(...)
  local t, key, value = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'rawset', 'table', count, t) end
  if count < 3 then bad_argument(count + 1, 'rawset', 'value expected') end
  if real_of[t] then error(READONLY, 0) end
  return rawset(t, key, value)
end

local function getmetatable_shown(...)
  local value = ...
  if select('#', ...) == 0 then bad_argument(1, 'getmetatable', 'value expected') end
  if type(value) == 'userdata' then return nil end
  local found = rawgetmetatable(value)
  local shown = shown_as[found]
  if shown == nil then return found end
  return shown or nil
end

local function setmetatable_shown(...)
  local t, meta = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'setmetatable', 'table', count, t) end
  if count < 2 or (meta ~= nil and type(meta) ~= 'table') then
    bad_argument(2, 'setmetatable', 'nil or table expected')
  end
  if real_of[t] then error(READONLY, 0) end
  local before = rawgetmetatable(t)
  if before ~= nil then
    local ok, why = rawpcall(rawsetmetatable, t, meta)
    if not ok then error(why, 2) end
    return t
  end
  if meta ~= nil and real_of[meta] then
    local real = real_of[meta]
    if shown_as[real] == nil then shown_as[real] = meta end
    meta = real
  end
  return rawsetmetatable(t, meta)
end

local function insert_shown(...)
  local t, at = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'insert', 'table', count, t) end
  if count == 3 then
    if type(at) ~= 'number' and not tonumber(at) then bad_type(2, 'insert', 'number', count, at) end
  elseif count ~= 2 then
    error("wrong number of arguments to 'insert'", 2)
  end
  if real_of[t] then error(READONLY, 0) end
  if count == 3 then
    at = int32(tonumber(at))
    local last = #t + 1
    if last - at > #t + 1000 then   -- far below the table: C would count for minutes where nobody can end the script
      for i = last, at + 1, -1 do rawset(t, i, rawget(t, i - 1)) end
      rawset(t, at, (select(3, ...)))
      return
    end
  end
  rawinsert(...)
end

-- functions in C that trust a count, or recurse as deep as a pattern says -------------------------------------------

-- What a function in C raised, called under pcall (so its text has no place, and no name of the function), is raised as
-- if the script had called it. Whoever calls this does so in a tail call: that frame counts as a level.
local function outcome_of(name, ok, ...)
  if ok then return ... end
  local problem = ...
  if type(problem) ~= 'string' or problem == 'not enough memory' then error(problem, 0) end
  if sub(problem, 1, 14) == 'bad argument #' then problem = gsub(problem, "to '%?'", "to '" .. name .. "'", 1) end
  error(problem, 3)
end

-- Each of these may take a level of C's stack, which nothing checks. Plain text is never searched by recursion.
local function check_pattern(pattern)
  local _, items = gsub(pattern, '[*+?-]', '')
  if items > MOST_ITEMS then error('pattern too complex', 3) end
end

-- Patterns that cannot raise an error of their own, whatever they meet: they need no pcall. Forgotten when there are
-- many.
local harmless, known = {}, 0

local function look_at(pattern)
  if type(pattern) ~= 'string' or #pattern > 100 then return end
  local rest = gsub(pattern, '%%[^bf%d]', '')
  if find(rest, '[%%%[]') then return end
  local captures, paired = gsub(rest, '[^()]', '')
  repeat captures, paired = gsub(captures, '%(%)', '') until paired == 0
  if captures ~= '' or #rest > 30 then return end
  if known >= 500 then harmless, known = {}, 0 end
  harmless[pattern], known = true, known + 1
end

local function find_shown(...)
  local text, pattern, from, plain = ...
  if from == nil and harmless[pattern] and type(text) == 'string' then return find(text, pattern, 1, plain) end
  look_at(pattern)
  if type(pattern) == 'string' and #pattern > MOST_ITEMS and not plain then check_pattern(pattern) end
  return outcome_of('find', rawpcall(find, ...))
end

local function match_shown(...)
  local text, pattern, from = ...
  if harmless[pattern] and type(text) == 'string' and from == nil then return match(text, pattern) end
  look_at(pattern)
  if type(pattern) == 'string' and #pattern > MOST_ITEMS then check_pattern(pattern) end
  return outcome_of('match', rawpcall(match, ...))
end

local function gmatch_shown(...)
  local _, pattern = ...
  if type(pattern) == 'string' and #pattern > MOST_ITEMS then check_pattern(pattern) end
  return outcome_of('gmatch', rawpcall(gmatch, ...))
end

-- What gsub itself may say; anything else comes from the script's own function and has its place already.
local GSUB_SAYS = {}
for _, text in ipairs({
  "malformed pattern (ends with '%')", "malformed pattern (missing ']')", 'unbalanced pattern',
  "missing '[' after '%f' in pattern", 'invalid capture index', 'invalid pattern capture', 'too many captures',
  'unfinished capture', 'invalid replacement value (a table)', 'invalid replacement value (a boolean)',
  'invalid replacement value (a function)', 'invalid replacement value (a userdata)',
  'invalid replacement value (a thread)',
}) do GSUB_SAYS[text] = true end

local function gsub_outcome(ok, ...)
  if ok then return ... end
  local problem = ...
  if type(problem) ~= 'string' then error(problem, 0) end
  if sub(problem, 1, 14) == 'bad argument #' then problem = gsub(problem, "to '%?'", "to 'gsub'", 1)
  elseif not GSUB_SAYS[problem] then error(problem, 0) end
  error(problem, 3)
end

local function gsub_shown(...)
  local _, pattern = ...
  if type(pattern) == 'string' and #pattern > MOST_ITEMS then check_pattern(pattern) end
  return gsub_outcome(rawpcall(gsub, ...))
end

-- In C it appends copy by copy, however many and however short, and nothing can end that.
local function rep_shown(...)
  local text, times = ...
  local short = type(times) == 'number' and times >= 0 and times <= 1000
  if short and type(text) == 'string' then return rep(text, times) end
  local count = tonumber(times)
  if type(text) == 'number' then text = tostring(text) end
  if type(text) ~= 'string' or count == nil then return outcome_of('rep', rawpcall(rep, ...)) end
  count = int32(count)
  local length = #text
  if count * length > MOST_BYTES then error('not enough memory', 0) end
  if count <= 1000 then return rep(text, count) end
  if length == 0 then return '' end
  if length > 100 then return rep(text, count) end
  local part = rep(text, 1000)
  return rep(part, floor(count / 1000)) .. rep(text, count % 1000)
end

-- A width that overflows an int passes the check in C. The stack has 8000 slots.
local function unpack_shown(...)
  local t, first, last = ...
  if type(t) == 'table' then
    if first == nil and last == nil and #t < 7990 then return rawunpack(t) end
    first, last = first == nil and 1 or tonumber(first), last == nil and #t or tonumber(last)
    if first and last then
      if int32(last) - int32(first) >= 8000 then error('too many results to unpack', 2) end
    end
  end
  return outcome_of('unpack', rawpcall(rawunpack, ...))
end

-- Our own functions do not show their code: on stock servers they have none.
function string.dump(...)
  local f = ...
  if type(f) ~= 'function' then bad_type(1, 'dump', 'function', select('#', ...), f) end
  local about = getinfo(f, 'S')
  if about.what == 'C' or about.source == '=sandbox' then error('unable to dump given function', 2) end
  return (dump(f))
end

local function foreach_shown(...)
  local t, f = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'foreach', 'table', count, t) end
  if type(f) ~= 'function' then bad_type(2, 'foreach', 'function', count, f) end
  for key, value in rawnext, real_of[t] or t do
    local result = f(key, value)
    if result ~= nil then return result end
  end
end

-- time --------------------------------------------------------------------------------------------------------------

local killed = nil   -- the error that ends the script

local function on_kill()
  error(killed, 0)
end

-- What host.slow answers: 0, or why the script ends. Numbers, for at the limit of memory no string can come over the
-- border.
local VERDICTS = {
  'ERR Script killed by user with SCRIPT KILL...',
  'ERR FUNCTION LOAD timeout',
  'ERR internal error',
}

local function on_count()
  if killed == nil then
    local verdict = host.slow()
    if verdict == 0 then return end
    killed = { err = VERDICTS[verdict] }
  end
  sethook(on_kill, '', 1)
  error(killed, 0)
end

local function rearm()
  killed = nil
  sethook(on_count, '', HOOK_EVERY)
end

-- catching errors: pcall shows the text of an error reply, as stock's does ------------------------------------------

local function caught(ok, ...)
  if ok then return ok, ... end
  local problem = ...
  if type(problem) == 'table' then
    local text = problem.err
    if type(text) == 'string' or type(text) == 'number' then return false, text end
  end
  return false, problem
end

local function pcall_shown(...)
  if select('#', ...) == 0 then return false, 'attempt to call a nil value' end
  return caught(rawpcall(...))
end

local function xpcall_shown(...)
  local f, handler = ...
  if select('#', ...) < 2 then bad_argument(2, 'xpcall', 'value expected') end
  return rawxpcall(f, function(problem)
    if killed ~= nil then return problem end
    return handler(problem)
  end)
end

local function in_thread(f)
  return function(...)
    sethook(on_count, '', HOOK_EVERY)
    return f(...)
  end
end

local function check_body(name, count, f)
  local about = type(f) == 'function' and getinfo(f, 'S')
  if not about or about.what == 'C' or about.source == '=sandbox' then
    error(format("bad argument #1 to '%s' (Lua function expected)", name), 3)
  end
  if killed ~= nil then error(killed, 0) end
end

local function co_create(...)
  local f = ...
  check_body('create', select('#', ...), f)
  return coroutine.create(in_thread(f))
end

local function co_wrap(...)
  local f = ...
  check_body('wrap', select('#', ...), f)
  return coroutine.wrap(in_thread(f))
end

-- memory: leave room for what crosses the border --------------------------------------------------------------------

-- A script that still holds nearly all of it ends: a whole collection at each of its calls would take for ever.
local function make_room()
  rawcollect('collect')
  if rawcollect('count') > HIGH_WATER * 0.9 then
    killed = killed or { err = 'ERR not enough memory' }
    sethook(on_kill, '', 1)
    error(killed, 0)
  end
end

-- A Python function that may bring strings over the border.
local function roomy(f)
  return function(...)
    if rawcollect('count') > HIGH_WATER then make_room() end
    return f(...)
  end
end

engine.roomy = roomy

local function collectgarbage_shown(...)
  local option = ...
  if option == nil then option = 'collect' end
  if type(option) == 'number' then option = tostring(option) end
  if option == 'count' then return rawcollect('count') end
  if option == 'step' then return rawcollect('step', 100) end
  if option == 'collect' then return rawcollect('collect') end
  -- the collector serves all scripts: its settings are not one script's to change
  if option == 'stop' or option == 'restart' then return 0 end
  if option == 'setpause' or option == 'setstepmul' then return 200 end
  if type(option) ~= 'string' then bad_type(1, 'collectgarbage', 'string', 1, option) end
  bad_argument(1, 'collectgarbage', format("invalid option '%s'", option))
end

"""
